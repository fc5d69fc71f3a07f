// How main.bicepparam reads the variables of an azd environment. A `...Problem` function returns an
// error that names the variable, or an empty text. The others return the value of a valid variable. A variable that is empty or blank counts as not set.

import { Project } from 'types.bicep'

var letters = 'abcdefghijklmnopqrstuvwxyz'
var digits = '0123456789'

@description('Whether a text consists of some characters only.')
func consistsOf(value string, characters string) bool =>
  empty(filter(range(0, length(value)), index => !contains(characters, substring(value, index, 1))))

@description('Whether a text is a GUID.')
func isGuid(value string) bool =>
  consistsOf(toLower(value), '${digits}abcdef-') && join(map(split(value, '-'), part => string(length(part))), '-') == '8-4-4-4-12'

// ---- Values ------------------------------------------------------------------------------------

@export()
@description('A text, unchanged, or the default.')
func textOr(value string, default string) string => empty(trim(value)) ? default : value

@export()
@description('A short text such as a name, without blanks around it, or the default.')
func wordOr(value string, default string) string => empty(trim(value)) ? default : trim(value)

@export()
@description('A flag, or the default.')
func flagOr(value string, default bool) bool => empty(trim(value)) ? default : toLower(trim(value)) == 'true'

@export()
@description('A whole number, or the default.')
func numberOr(value string, default int) int =>
  isNumberWithin(trim(value), -999999999, 999999999) ? int(trim(value)) : default

@export()
@description('The items of a list that is separated by commas, without blanks and empty items.')
func listOf(value string) string[] => filter(map(split(value, ','), item => trim(item)), item => !empty(item))

@export()
@description('A Foundry project from its resource id in any common spelling; null for none.')
func projectOf(id string) Project? =>
  length(pathOf(id)) == 10
    ? {
        subscriptionId: pathOf(id)[1]
        resourceGroupName: pathOf(id)[3]
        accountName: pathOf(id)[7]
        projectName: pathOf(id)[9]
      }
    : null

@export()
@description('The app setting that refers to a secret of a Key Vault.')
func vaultReference(vaultName string, secretName string) string =>
  '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=${secretName})'

@export()
@description('The same for a reference as `azd env set-secret` writes it: akvs://subscription/vault/secret.')
func azdSecretReference(value string) string => vaultReference(pathOf(value)[2], pathOf(value)[3])

@export()
@description('Whether a secret is a reference to a Key Vault and not the secret itself.')
func isAzdSecret(value string) bool => startsWith(trim(value), 'akvs://')

@description('The parts of a path between its slashes, without empty ones.')
func pathOf(value string) string[] => filter(split(trim(value), '/'), part => !empty(part))

// ---- Problems ----------------------------------------------------------------------------------

@export()
@description('A flag is true or false.')
func flagProblem(name string, value string) string =>
  contains(['', 'true', 'false'], toLower(trim(value))) ? '' : '${name} is "${value}": it must be true or false.'

@export()
@description('A whole number lies between two others.')
func numberProblem(name string, value string, least int, most int) string =>
  empty(trim(value)) || isNumberWithin(trim(value), least, most)
    ? ''
    : '${name} is "${value}": it must be a whole number from ${least} to ${most}.'

@description('Whether a text is a whole number between two others; nine digits are enough for all of them.')
func isNumberWithin(value string, least int, most int) bool =>
  startsWith(value, '-')
    ? isNumberWithinMagnitude(substring(value, 1), -1, least, most)
    : isNumberWithinMagnitude(value, 1, least, most)

@description('The same for the digits of a number and its sign.')
func isNumberWithinMagnitude(magnitude string, sign int, least int, most int) bool =>
  !empty(magnitude) && length(magnitude) <= 9 && consistsOf(magnitude, digits)
    ? sign * int(magnitude) >= least && sign * int(magnitude) <= most
    : false

@export()
@description('A choice is one of some.')
func choiceProblem(name string, value string, choices string[]) string =>
  contains(concat([''], choices), value) ? '' : '${name} is "${value}": it must be one of ${join(choices, ', ')}.'

@export()
@description('A list holds GUIDs only.')
func guidsProblem(name string, value string) string =>
  empty(filter(listOf(value), item => !isGuid(item)))
    ? ''
    : '${name} is "${value}": it must be a GUID, or GUIDs separated by commas where it is a list.'

@export()
@description('A mail address has one @ between two texts.')
func mailProblem(name string, value string) string =>
  empty(trim(value)) || (length(filter(split(trim(value), '@'), part => !empty(part))) == 2 && !contains(
      trim(value),
      ' '
    ))
    ? ''
    : '${name} is "${value}": it must be a mail address.'

@export()
@description('A queue has a valid name for Storage, with room for the suffix -poison.')
func queueProblem(name string, value string) string =>
  length(value) >= 3 && length(value) <= 56 && consistsOf(value, '${letters}${digits}-') && !startsWith(value, '-') && !endsWith(
      value,
      '-'
    ) && !contains(value, '--')
    ? ''
    : '${name} is "${value}": a queue name has 3 to 56 lower-case letters, digits and single hyphens, and begins and ends with a letter or digit.'

@export()
@description('A table has a valid name for Storage.')
func tableProblem(name string, value string) string =>
  length(value) >= 3 && length(value) <= 63 && consistsOf(toLower(value), '${letters}${digits}') && contains(
      letters,
      toLower(substring(value, 0, 1))
    ) && toLower(value) != 'tables'
    ? ''
    : '${name} is "${value}": a table name has 3 to 63 letters and digits, and begins with a letter.'

@export()
@description('Two of some named texts are the same.')
func sameProblem(what string, values string[]) string => length(union(map(values, value => toLower(value)), [])) == length(values) ? '' : 'Two ${what} have one name: ${join(values, ', ')}.'

@export()
@description('An address range is /24 or wider.')
func addressRangeProblem(name string, value string) string =>
  empty(trim(value)) || isAddressRange(split(trim(value), '/'))
    ? ''
    : '${name} is "${value}": it must be an IPv4 range of /24 or wider, such as 10.80.0.0/24.'

@description('Whether the address and the width of a range are valid.')
func isAddressRange(parts string[]) bool =>
  length(parts) == 2 && isNumberWithin(last(parts)!, 8, 24)
    ? length(filter(split(parts[0], '.'), part => isNumberWithin(part, 0, 255))) == 4 && length(split(parts[0], '.')) == 4
    : false

@export()
@description('A project is named by its resource id, and not by its account, its hub or its endpoint.')
func projectProblem(name string, value string) string =>
  empty(trim(value)) || isProjectPath(map(pathOf(value), part => toLower(part)))
    ? ''
    : '${name} is "${value}", ${notAProject(toLower(trim(value)))}. It must be the resource id of a project: /subscriptions/.../resourceGroups/.../providers/Microsoft.CognitiveServices/accounts/.../projects/...'

@description('Whether the parts of a path, in lower case, are those of a project.')
func isProjectPath(parts string[]) bool =>
  length(parts) == 10
    ? join([parts[0], parts[2], parts[4], parts[5], parts[6], parts[8]], '/') == 'subscriptions/resourcegroups/providers/microsoft.cognitiveservices/accounts/projects' && isGuid(parts[1])
    : false

@description('What a text in lower case names instead of a project.')
func notAProject(value string) string =>
  contains(value, '://')
    ? 'an endpoint'
    : contains(value, 'microsoft.machinelearningservices')
        ? 'a hub, whose projects have no agents'
        : contains(value, '/accounts/') && !contains(value, '/projects/') ? 'an account' : 'no resource id of a project'

@export()
@description('A reference to a secret names subscription, vault and secret. The secret itself is never repeated.')
func secretProblem(name string, value string) string =>
  !isAzdSecret(value) || length(pathOf(value)) == 4
    ? ''
    : '${name} must be akvs://subscription/vault/secret, as `azd env set-secret ${name}` writes it.'
