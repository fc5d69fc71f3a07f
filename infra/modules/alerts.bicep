// Alerts and their receiver. Each query returns one number, `Value`, and an alert is raised when it
// exceeds the rule's threshold.

import { TextByName } from '../types.bicep'

@description('Name of the action group.')
param actionGroupName string

@description('Start of each alert\'s name.')
param namePrefix string

@description('Region of the rules.')
param location string

@description('Tags.')
param tags TextByName

@description('Workspace that the rules query.')
param workspaceId string

@description('Name of the function app, which identifies its telemetry.')
param functionAppName string

@description('Mail address for alerts; empty for none.')
param email string

@description('Timer function whose stop raises an alert; empty turns that alert off.')
param heartbeatFunction string

@description('p95 of answer times that is too long, in milliseconds.')
param latencyMilliseconds int

@description('Age of a message that is too high, in seconds.')
param queueAgeSeconds int

@description('Percentage of 5xx answers that is too high.')
param serverErrorPercent int

var rules = [
  {
    name: 'dead-letters'
    description: 'A message failed for good and was moved to a poison queue.'
    query: loadTextContent('queries/dead-letters.kql')
    severity: 1
    window: 'PT5M'
    threshold: 0
    enabled: true
  }
  {
    name: 'server-errors'
    description: 'Too many requests are answered with 5xx.'
    query: loadTextContent('queries/server-errors.kql')
    severity: 1
    window: 'PT5M'
    threshold: serverErrorPercent
    enabled: true
  }
  {
    name: 'latency'
    description: 'A route answers too slowly at the 95th percentile.'
    query: loadTextContent('queries/latency.kql')
    severity: 2
    window: 'PT10M'
    threshold: latencyMilliseconds
    enabled: true
  }
  {
    name: 'rate-limited'
    description: 'The quota of the model deployment is used up: raise its capacity or lower maximumInstanceCount.'
    query: loadTextContent('queries/rate-limited.kql')
    severity: 2
    window: 'PT5M'
    threshold: 10
    enabled: true
  }
  {
    name: 'sign-in-failures'
    description: 'Entra refuses the app a token; the AADSTS code in the log says why.'
    query: loadTextContent('queries/sign-in-failures.kql')
    severity: 1
    window: 'PT5M'
    threshold: 0
    enabled: true
  }
  {
    name: 'queue-age'
    description: 'Jobs wait too long before a worker takes them.'
    query: loadTextContent('queries/queue-age.kql')
    severity: 2
    window: 'PT10M'
    threshold: queueAgeSeconds
    enabled: true
  }
  {
    name: 'heartbeat'
    description: 'The app\'s timer has not run: the app is down, or cannot start.'
    query: loadTextContent('queries/heartbeat.kql')
    severity: 0
    window: 'PT15M'
    threshold: 0
    enabled: !empty(heartbeatFunction)
  }
]

resource actionGroup 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: actionGroupName
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'agents'
    enabled: true
    emailReceivers: empty(email)
      ? []
      : [
          {
            name: 'operators'
            emailAddress: email
            useCommonAlertSchema: true
          }
        ]
  }
}

resource alerts 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for rule in rules: {
    name: '${namePrefix}-${rule.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: '${namePrefix}: ${rule.name}'
      description: rule.description
      enabled: rule.enabled
      severity: rule.severity
      scopes: [
        workspaceId
      ]
      evaluationFrequency: 'PT5M'
      windowSize: rule.window
      autoMitigate: true
      // A new workspace has none of the tables yet, and the rule would not deploy.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: replace(replace(rule.query, '{app}', functionAppName), '{heartbeatFunction}', heartbeatFunction)
            timeAggregation: 'Maximum'
            metricMeasureColumn: 'Value'
            operator: 'GreaterThan'
            threshold: rule.threshold
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: [
          actionGroup.id
        ]
      }
    }
  }
]
