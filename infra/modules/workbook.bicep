// A page in the portal with usage and its cost.

import { TextByName } from '../types.bicep'

@description('Title of the workbook.')
param displayName string

@description('Region.')
param location string

@description('Tags.')
param tags TextByName

@description('Workspace that the workbook reads.')
param workspaceId string

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'usage-and-cost')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: displayName
    category: 'workbook'
    sourceId: workspaceId
    serializedData: loadTextContent('workbook.json')
  }
}
