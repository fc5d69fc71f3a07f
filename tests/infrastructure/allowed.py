"""What the templates may use: API versions, roles and settings, each list complete."""

from __future__ import annotations

API_VERSIONS = {
    "Microsoft.ApiManagement/service": "2024-05-01",
    "Microsoft.ApiManagement/service/apis": "2024-05-01",
    "Microsoft.ApiManagement/service/apis/operations": "2024-05-01",
    "Microsoft.ApiManagement/service/apis/operations/policies": "2024-05-01",
    "Microsoft.ApiManagement/service/apis/policies": "2024-05-01",
    "Microsoft.ApiManagement/service/backends": "2024-05-01",
    "Microsoft.Authorization/roleAssignments": "2022-04-01",
    "Microsoft.CognitiveServices/accounts": "2025-06-01",
    "Microsoft.CognitiveServices/accounts/deployments": "2025-06-01",
    "Microsoft.CognitiveServices/accounts/projects": "2025-06-01",
    "Microsoft.Graph/applications": "v1.0",
    "Microsoft.Graph/servicePrincipals": "v1.0",
    "Microsoft.Insights/actionGroups": "2023-01-01",
    "Microsoft.Insights/components": "2020-02-02",
    # There is no stable version of this type; everybody uses this one.
    "Microsoft.Insights/diagnosticSettings": "2021-05-01-preview",
    "Microsoft.Insights/scheduledQueryRules": "2026-03-01",
    "Microsoft.Insights/workbooks": "2023-06-01",
    "Microsoft.KeyVault/vaults": "2025-05-01",
    "Microsoft.KeyVault/vaults/secrets": "2025-05-01",
    "Microsoft.ManagedIdentity/userAssignedIdentities": "2024-11-30",
    "Microsoft.Network/privateDnsZones": "2024-06-01",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": "2024-06-01",
    "Microsoft.Network/privateEndpoints": "2025-05-01",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": "2025-05-01",
    "Microsoft.Network/virtualNetworks": "2025-05-01",
    "Microsoft.OperationalInsights/workspaces": "2025-02-01",
    "Microsoft.Resources/resourceGroups": "2025-04-01",
    "Microsoft.Storage/storageAccounts": "2025-06-01",
    "Microsoft.Storage/storageAccounts/blobServices": "2025-06-01",
    "Microsoft.Storage/storageAccounts/blobServices/containers": "2025-06-01",
    "Microsoft.Storage/storageAccounts/managementPolicies": "2025-06-01",
    "Microsoft.Storage/storageAccounts/queueServices": "2025-06-01",
    "Microsoft.Storage/storageAccounts/queueServices/queues": "2025-06-01",
    "Microsoft.Storage/storageAccounts/tableServices": "2025-06-01",
    "Microsoft.Storage/storageAccounts/tableServices/tables": "2025-06-01",
    "Microsoft.Web/serverfarms": "2025-03-01",
    "Microsoft.Web/sites": "2025-03-01",
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": "2025-03-01",
    "Microsoft.Web/sites/config": "2025-03-01",
}

ROLES = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "53ca6127-db72-4b80-b1b0-d745d6d5456d": "Foundry User",
}

FORBIDDEN_ON_FLEX = {
    "ENABLE_ORYX_BUILD",
    "FUNCTIONS_EXTENSION_VERSION",
    "FUNCTIONS_MAX_HTTP_CONCURRENCY",
    "FUNCTIONS_WORKER_DYNAMIC_CONCURRENCY_ENABLED",
    "FUNCTIONS_WORKER_PROCESS_COUNT",
    "FUNCTIONS_WORKER_RUNTIME",
    "FUNCTIONS_WORKER_RUNTIME_VERSION",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING",
    "WEBSITE_CONTENTOVERVNET",
    "WEBSITE_CONTENTSHARE",
    "WEBSITE_DNS_SERVER",
    "WEBSITE_MAX_DYNAMIC_APPLICATION_SCALE_OUT",
    "WEBSITE_MOUNT_ENABLED",
    "WEBSITE_RUN_FROM_PACKAGE",
    "WEBSITE_VNET_ROUTE_ALL",
}
"""Settings that Flex Consumption refuses or ignores."""

PLATFORM_SETTINGS = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "AzureWebJobsDisableHomepage",
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__credential",
    "PYTHON_ENABLE_OPENTELEMETRY",
}
"""Settings that the Functions host reads and the app's settings class does not."""

NOT_IN_AZURE = {
    "AUTH_ANONYMOUS_CONFIRMED": "in Azure each caller shows a key or a token",
    "AzureWebJobsStorage": "a connection string holds a key; the host signs in instead",
    "FOUNDRY_AGENT_BLUEPRINT_CERTIFICATE_PATH": "the managed identity speaks for the blueprint",
    "FOUNDRY_AGENT_BLUEPRINT_CLIENT_SECRET": "the managed identity speaks for the blueprint",
    "IDENTITY_ENDPOINT": "the platform sets it",
    "TESTS_ONLY_ALLOW_CALLBACKS_TO_127_0_0_1": "for tests only",
    "WEBSITE_AUTH_ENABLED": "the platform sets it",
    "WEBSITE_HOSTNAME": "the platform sets it",
    "WEBSITE_SITE_NAME": "the platform sets it",
}
"""Settings of the settings class that a deployment leaves out, and why."""

ACCEPTED_FINDINGS = {
    "CKV_AZURE_107 Microsoft.ApiManagement/service": (
        "the v2 tiers reach the app over its public address, where a token is checked again"
    ),
    "CKV_AZURE_109 Microsoft.KeyVault/vaults": (
        "public without VNET_ENABLED, for Entra identities only"
    ),
    "CKV_AZURE_13 Microsoft.Web/sites/config": (
        "authsettingsV2 is on; the check knows the older form"
    ),
    "CKV_AZURE_134 Microsoft.CognitiveServices/accounts": (
        "public without VNET_ENABLED, for Entra identities only"
    ),
    "CKV_AZURE_17 Microsoft.Web/sites": ("callers show tokens or keys, not certificates"),
    "CKV_AZURE_174 Microsoft.ApiManagement/service": ("it is the public entrance"),
    "CKV_AZURE_189 Microsoft.KeyVault/vaults": (
        "public without VNET_ENABLED, for Entra identities only"
    ),
    "CKV_AZURE_206 Microsoft.Storage/storageAccounts": (
        "within a region, over zones with ZONE_REDUNDANT: two regions would give two truths"
    ),
    "CKV_AZURE_212 Microsoft.Web/sites": (
        "Flex Consumption counts instances elsewhere: ALWAYS_READY_HTTP, ZONE_REDUNDANT"
    ),
    "CKV_AZURE_213 Microsoft.Web/sites": ("Flex Consumption has no health check of the platform"),
    "CKV_AZURE_222 Microsoft.Web/sites": (
        "the API is public; every request shows a key or a token"
    ),
    "CKV_AZURE_222 Microsoft.Web/sites/config": ("taken for the configuration `web`"),
    "CKV_AZURE_225 Microsoft.Web/serverfarms": ("a choice: ZONE_REDUNDANT"),
    "CKV_AZURE_35 Microsoft.Storage/storageAccounts": (
        "public without VNET_ENABLED, for Entra identities only"
    ),
    "CKV_AZURE_36 Microsoft.Storage/storageAccounts": (
        "no service of Microsoft needs to pass the private network's rules"
    ),
    "CKV_AZURE_41 Microsoft.KeyVault/vaults/secrets": (
        "the template does not know how long a secret of others is good"
    ),
    "CKV_AZURE_59 Microsoft.Storage/storageAccounts": (
        "public without VNET_ENABLED; blobs never are"
    ),
    "CKV_AZURE_63 Microsoft.Web/sites/config": (
        "taken for the configuration `web`; requests are logged by Application Insights"
    ),
    "CKV_AZURE_65 Microsoft.Web/sites/config": (
        "taken for the configuration `web`; callers get no error details"
    ),
    "CKV_AZURE_66 Microsoft.Web/sites/config": (
        "taken for the configuration `web`, and a feature of Windows"
    ),
    "CKV_AZURE_80 Microsoft.Web/sites/config": (
        "taken for the configuration `web`; there is no .NET"
    ),
    "CKV_AZURE_88 Microsoft.Web/sites/config": (
        "taken for the configuration `web`; there are no files to keep"
    ),
}
"""Checks of the scanner that the templates fail, by type of resource, and why they may."""
