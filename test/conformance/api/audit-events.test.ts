// Every kind of audit record, of what was done and of what was refused, word for word (http-api 16, policy 11, cluster
// 12.2, 12.3). A transcript: a request with its status, and below it the records that are found by its id.
//
//   STATUS WHO METHOD PATH BODY        WHO: a client, `login:secret` for Basic, `@address` for nobody behind a proxy
//     <PRI> MSGID [element parameters] text
//
// Elements stand without `@43868`, in one order, their parameters by name; `[client]` is the address of all of us here.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { IdentityProvider } from '../../support/identity-provider.ts'
import { Client } from '../../support/nodes.ts'
import {
  type Answered,
  type AuditRow,
  answered,
  argument,
  basic,
  FORM,
  recordsOf,
  settled,
  startWorld,
  V2,
  type World,
} from './world.ts'

const policy = `
- !policy
  id: ev
  body:
  - !variable v
  - !variable unseen
  - !group g
  - !host in
  - !host out
  - !permit { role: !host /app/web, privileges: [ read, execute, update ], resource: !variable v }
  - !permit { role: !host /app/onlooker, privileges: [ read ], resource: !variable v }
  - !permit { role: !host /app/onlooker, privileges: [ read ], resource: !host out }
- !policy { id: conjur/authn-gcp, body: [ !webservice , !webservice status ] }
- !policy conjur/authn-jwt
- !policy data/dynamic
- !policy loaded
- !permit { role: !host app/web, privileges: [ update ], resource: !webservice conjur/authn-gcp }
- !permit { role: !host app/web, privileges: [ read ], resource: !webservice conjur/authn-gcp/status }
- !permit { role: !host app/onlooker, privileges: [ read ], resource: !policy loaded }
- !user pat
`

/** Names that stand for more. */
const words: Record<string, string> = {
  $admin: 'acme:user:admin',
  $web: 'acme:host:app/web',
  $far: 'acme:host:app/far',
  $onlooker: 'acme:host:app/onlooker',
  $pat: 'acme:user:pat',
  $v: 'acme:variable:ev/v',
  $unseen: 'acme:variable:ev/unseen',
  $authn: '[auth authenticator="authn" service="acme:webservice:conjur/authn" user=',
  $gcp: '[auth authenticator="authn-gcp" service="acme:webservice:conjur/authn-gcp" user=',
  $with: 'with authenticator authn service acme:webservice:conjur/authn',
  $aws: 'type=aws&max_ttl=900&data[access_key_id]=AKIAIOSFODNN7EXAMPLE&data[secret_access_key]=wJalrXUtnFEMI/K7MDENG%2BbPxRfiCYEXAMPLEKEY',
  '[client]': '[client ip="127.0.0.1"]',
}

const authentication = `
200 nobody POST /authn/acme/host%2Fapp%2Fweb/authenticate $key:web
  <86> authn $authn"$web"][subject role="$web"][client][action operation="authenticate" result="success"] $web successfully authenticated $with
401 @10.1.2.3 POST /authn/acme/host%2Fapp%2Fweb/authenticate wrong
  <84> authn $authn"$web"][subject role="$web"][client ip="10.1.2.3"][action operation="authenticate" result="failure"] $web failed to authenticate $with: CONJ00002E Invalid credentials
401 nobody POST /authn/acme/host%2Fnobody/authenticate wrong
  <84> authn $authn"not-found"][subject role="acme:host:nobody"][client][action operation="authenticate" result="failure"] acme:host:nobody failed to authenticate $with: CONJ00007E 'acme:host:nobody' not found
401 nobody POST /authn/acme/host%2Fapp%2Ffar/authenticate $key:far
  <84> authn $authn"$far"][subject role="$far"][client][action operation="authenticate" result="failure"] $far failed to authenticate $with: CONJ00003E User is not authorized to login from the current origin
200 host/app/web:$key:web GET /authn/acme/login
  <86> authn $authn"$web"][subject role="$web"][client][action operation="login" result="success"] $web successfully logged in $with
401 host/app/web:wrong GET /authn/acme/login
  <84> authn $authn"$web"][subject role="$web"][client][action operation="login" result="failure"] $web failed to login $with: CONJ00002E Invalid credentials
401 zed:wrong GET /authn/acme/login
  <84> authn $authn"not-found"][subject role="acme:user:zed"][client][action operation="login" result="failure"] acme:user:zed failed to login $with: CONJ00002E Invalid credentials
401 nobody GET /authn/acme/login
  <84> authn $authn"not-found"][subject role="acme:user:USERNAME_MISSING"][client][action operation="login" result="failure"] acme:user:USERNAME_MISSING failed to login $with: CONJ00009E Credentials are missing
401 zed:wrong PUT /authn/acme/password Correct-Horse-9
  <84> authn $authn"not-found"][subject role="acme:user:zed"][client][action operation="login" result="failure"] acme:user:zed failed to login $with: CONJ00002E Invalid credentials
401 nobody PUT /authn/acme/password Correct-Horse-9
500 web GET /authn-gcp/acme/status
  <84> authn $gcp"$web"][subject role="$web"][client][action operation="validate-status" result="failure"] $web failed to validate status with authenticator authn-gcp service acme:webservice:conjur/authn-gcp: CONJ00004E 'authn-gcp' is not enabled
403 onlooker PATCH /authn-gcp/acme enabled=true
  <84> authn $gcp"$onlooker"][subject role="$onlooker"][client][action operation="update-authenticator-configuration" result="failure"] $onlooker failed to update configuration with authenticator authn-gcp service acme:webservice:conjur/authn-gcp: CONJ00006E 'host/app/onlooker' does not have 'update' privilege on acme:webservice:conjur/authn-gcp
200 web GET /whoami
  <38> identity-check [auth user="$web"][subject role="$web"][client][action operation="check" result="success"] $web checked its identity using whoami
`

const secrets = `
200 web GET /secrets/acme/variable/ev%2Fv
  <86> fetch [auth user="$web"][subject resource="$v"][client][action operation="fetch" result="success"] $web fetched $v
200 web GET /secrets/acme/variable/ev%2Fv?version=1
  <86> fetch [auth user="$web"][subject resource="$v" version="1"][client][action operation="fetch" result="success"] $web fetched version 1 of $v
403 onlooker GET /secrets/acme/variable/ev%2Fv
  <84> fetch [auth user="$onlooker"][subject resource="$v"][client][action operation="fetch" result="failure"] $onlooker tried to fetch $v: Forbidden
404 web GET /secrets/acme/variable/ev%2Funseen
  <84> fetch [auth user="$web"][subject resource="$unseen"][client][action operation="fetch" result="failure"] $web tried to fetch $unseen: Forbidden
404 web GET /secrets/acme/variable/ev%2Fv?version=7
  <84> fetch [auth user="$web"][subject resource="$v" version="7"][client][action operation="fetch" result="failure"] $web tried to fetch version 7 of $v: CONJ00076E Variable $v is empty or not found.
422 web GET /secrets/acme/variable/ev%2Fv?version=x
  <84> fetch [auth user="$web"][subject resource="$v" version="x"][client][action operation="fetch" result="failure"] $web tried to fetch version x of $v: invalid type for parameter 'version'
200 web GET /secrets?variable_ids=$v,acme:variable:app/db/pw
  <86> fetch [auth user="$web"][subject resource="$v"][client][action operation="fetch" result="success"] $web fetched $v
  <86> fetch [auth user="$web"][subject resource="acme:variable:app/db/pw"][client][action operation="fetch" result="success"] $web fetched acme:variable:app/db/pw
403 web GET /secrets?variable_ids=$v,$unseen
  <84> fetch [auth user="$web"][subject resource="$unseen"][client][action operation="fetch" result="failure"] $web tried to fetch $unseen: Forbidden
404 web GET /secrets?variable_ids=$v,acme:variable:none
  <84> fetch [auth user="$web"][subject resource="acme:variable:none"][client][action operation="fetch" result="failure"] $web tried to fetch acme:variable:none: CONJ00076E Variable acme:variable:none is empty or not found.
403 onlooker POST /secrets/acme/variable/ev%2Fv x
  <84> update [auth user="$onlooker"][subject resource="$v"][client][action operation="update" result="failure"] $onlooker tried to update $v: Forbidden
404 web POST /secrets/acme/variable/ev%2Funseen x
  <84> update [auth user="$web"][subject resource="$unseen"][client][action operation="update" result="failure"] $web tried to update $unseen: Forbidden
422 web POST /secrets/acme/variable/ev%2Fv
  <84> update [auth user="$web"][subject resource="$v"][client][action operation="update" result="failure"] $web tried to update $v: 'value' may not be empty
403 onlooker POST /secrets/acme/variable/ev%2Fv?expirations
  <84> update [auth user="$onlooker"][subject resource="$v"][client][action operation="update" result="failure"] $onlooker tried to update $v: Forbidden
`

const directory = `
204 web GET /resources/acme/variable/ev%2Fv?check&privilege=execute
  <86> check [auth user="$web"][subject privilege="execute" resource="$v" role="$web"][client][action operation="check" result="success"] $web successfully checked if they can execute $v
204 admin GET /resources/acme/variable/ev%2Fv?check&privilege=update&role=$web
  <86> check [auth user="$admin"][subject privilege="update" resource="$v" role="$web"][client][action operation="check" result="success"] $admin successfully checked if $web can update $v
404 onlooker GET /resources/acme/variable/ev%2Fv?check&privilege=execute
  <84> check [auth user="$onlooker"][subject privilege="execute" resource="$v" role="$onlooker"][client][action operation="check" result="failure"] $onlooker failed to check if they can execute $v
404 web GET /resources/acme/variable/ev%2Funseen?check&privilege=read
  <84> check [auth user="$web"][subject privilege="read" resource="$unseen" role="$web"][client][action operation="check" result="failure"] $web failed to check if they can read $unseen: Variable 'ev/unseen' not found in account 'acme'
403 onlooker GET /resources/acme/variable/ev%2Fv?check&privilege=read&role=$web
  <84> check [auth user="$onlooker"][subject privilege="read" resource="$v" role="$web"][client][action operation="check" result="failure"] $onlooker failed to check if $web can read $v: Forbidden
200 web GET /resources/acme/variable?limit=1&search=v&other=x
  <86> list [auth user="$web"][subject account="acme" kind="variable" limit="1" search="v"][client][action operation="list" result="success"] $web successfully listed resources with parameters: {"account":"acme","kind":"variable","limit":"1","search":"v"}
200 web GET /resources?count=true
  <86> list [auth user="$web"][subject count="true"][client][action operation="list" result="success"] $web successfully listed resources with parameters: {"count":"true"}
403 onlooker GET /resources?acting_as=$web
  <84> list [auth user="$onlooker"][subject acting_as="$web"][client][action operation="list" result="failure"] $onlooker failed to list resources with parameters: {"acting_as":"$web"}: Forbidden
404 web GET /resources/acme?owner=user:zed
  <84> list [auth user="$web"][subject account="acme" owner="user:zed"][client][action operation="list" result="failure"] $web failed to list resources with parameters: {"account":"acme","owner":"user:zed"}: User 'zed' not found in account 'acme'
200 web GET /resources/acme/variable/ev%2Fv
  <86> resource [auth user="$web"][subject resource="$v"][client][action operation="get" result="success"] $web successfully fetched resource details.
404 web GET /resources/acme/variable/ev%2Funseen
  <84> resource [auth user="$web"][subject resource="$unseen"][client][action operation="get" result="failure"] $web failed to fetch resource details: Variable 'ev/unseen' not found in account 'acme'
200 admin GET /roles/acme/group/ev%2Fg?members&limit=2&kind[]=user&kind[]=host
  <86> members [auth user="$admin"][subject account="acme" kind="user,host" limit="2" role="acme:group:ev/g"][client][action operation="list" result="success"] $admin successfully listed members with parameters: {"account":"acme","role":"acme:group:ev/g","kind":"user,host","limit":"2"}
404 web GET /roles/acme/group/ev%2Fg?members
  <84> members [auth user="$web"][subject account="acme" role="acme:group:ev/g"][client][action operation="list" result="failure"] $web failed to list members with parameters: {"account":"acme","role":"acme:group:ev/g"}: Group 'ev/g' not found in account 'acme'
200 admin GET /roles/acme/group/ev%2Fg?memberships&search=x
  <86> membership [auth user="$admin"][subject account="acme" role="acme:group:ev/g" search="x"][client][action operation="list" result="success"] $admin successfully listed memberships with parameters: {"account":"acme","role":"acme:group:ev/g","search":"x"}
404 web GET /roles/acme/group/ev%2Fg?memberships
  <84> membership [auth user="$web"][subject account="acme" role="acme:group:ev/g"][client][action operation="list" result="failure"] $web failed to list memberships with parameters: {"account":"acme","role":"acme:group:ev/g"}: Group 'ev/g' not found in account 'acme'
`

const credentials = `
401 admin PUT /authn/acme/password Correct-Horse-9
  <84> password [auth user="$admin"][subject role="$admin"][client][action operation="change" result="failure"] $admin failed to change their password: Credential strength is insufficient
403 host/app/web:$key:web PUT /authn/acme/password Correct-Horse-9
  <84> password [auth user="$web"][subject role="$web"][client][action operation="change" result="failure"] $web failed to change their password: Forbidden
422 pat:$key:pat PUT /authn/acme/password weak
  <84> password [auth user="$pat"][subject role="$pat"][client][action operation="change" result="failure"] $pat failed to change their password: CONJ00046E The password you have chosen does not meet the complexity requirements. Choose a password that includes: 12-128 characters, 2 uppercase letters, 2 lowercase letters, 1 digit, 1 special character
401 web PUT /authn/acme/api_key
  <84> api-key [auth user="$web"][subject role="$web"][client][action operation="rotate" result="failure"] $web failed to rotate their API key: Credential strength is insufficient
401 host/app/web:$key:web PUT /authn/acme/api_key?role=user:pat
  <84> api-key [auth user="$web"][subject role="$pat"][client][action operation="rotate" result="failure"] $web failed to rotate the api key for $pat: Unauthorized
403 onlooker PUT /authn/acme/api_key?role=host:ev/out
  <84> api-key [auth user="$onlooker"][subject role="acme:host:ev/out"][client][action operation="rotate" result="failure"] $onlooker failed to rotate the api key for acme:host:ev/out: Forbidden
404 web PUT /authn/acme/api_key?role=user:zed
  <84> api-key [auth user="$web"][subject role="acme:user:zed"][client][action operation="rotate" result="failure"] $web failed to rotate the api key for acme:user:zed: CONJ00123E Resource 'user:zed' requested by role '$web' not found
405 admin PUT /authn/acme/api_key?role=group:ev/g
  <84> api-key [auth user="$admin"][subject role="acme:group:ev/g"][client][action operation="rotate" result="failure"] $admin failed to rotate the api key for acme:group:ev/g: CONJ00126E Role 'acme:group:ev/g' is not applicable for key rotation
`

const policies = `
200 admin GET /policies/acme/policy/loaded
  <85> policy [auth user="$admin"][subject account="acme" identifier="loaded" role_id="$admin"][client][action operation="read" result="success"] $admin read policy acme:policy:loaded
403 onlooker GET /policies/acme/policy/loaded
  <85> policy [auth user="$onlooker"][subject account="acme" identifier="loaded" role_id="$onlooker"][client][action operation="read" result="failure"] $onlooker failed to read policy acme:policy:loaded: Forbidden
404 web GET /policies/acme/policy/loaded
  <85> policy [auth user="$web"][subject account="acme" identifier="loaded" role_id="$web"][client][action operation="read" result="failure"] $web failed to read policy acme:policy:loaded: Policy 'loaded' not found in account 'acme'
400 admin GET /policies/acme/policy/loaded?depth=x
  <85> policy [auth user="$admin"][subject account="acme" identifier="loaded" role_id="$admin"][client][action operation="read" result="failure"] $admin failed to read policy acme:policy:loaded: 'depth' or 'limit' is no number, or out of range
403 onlooker POST /policies/acme/policy/loaded - !group x
  <85> policy [auth user="$onlooker"][subject][client][action operation="create" result="failure"] Failed to load policy: Forbidden
403 onlooker PUT /policies/acme/policy/loaded - !group x
  <85> policy [auth user="$onlooker"][subject][client][action operation="update" result="failure"] Failed to load policy: Forbidden
404 web PATCH /policies/acme/policy/loaded - !group x
  <85> policy [auth user="$web"][subject][client][action operation="update" result="failure"] Failed to load policy: Policy 'loaded' not found in account 'acme'
`

const v2 = `
200 admin GET /authenticators/acme?type=jwt
  <85> authenticator [auth user="$admin"][subject edge=""][client][action operation="list" result="success"] $admin successfully listed authenticator with URI path: '/authenticators/acme'
200 admin GET /authenticators/acme/gcp/default
  <85> authenticator [auth user="$admin"][subject edge=""][client][action operation="get" result="success"] $admin successfully retrieved authenticator default with URI path: '/authenticators/acme/gcp/default'
404 admin GET /authenticators/acme/jwt/none
  <85> authenticator [auth user="$admin"][subject edge=""][client][action operation="get" result="failure"] $admin failed to retrieve authenticator none with URI path: '/authenticators/acme/jwt/none': Authenticator: none not found in account 'acme'
404 admin DELETE /authenticators/acme/jwt/none
  <85> authenticator [auth user="$admin"][subject edge=""][client][action operation="delete" result="failure"] $admin failed to delete authenticator none with URI path: '/authenticators/acme/jwt/none': Authenticator: none not found in account 'acme'
200 admin GET /branches/acme?limit=1
  <85> branch [auth user="$admin"][subject edge=""][client][action operation="list" result="success"] $admin successfully listed branch with URI path: '/branches/acme'
422 admin GET /branches/acme?limit=-1
  <85> branch [auth user="$admin"][subject edge=""][client][action operation="list" result="failure"] $admin failed to list branch with URI path: '/branches/acme': Limit must be greater than or equal to 0
200 admin GET /branches/acme/ev
  <85> branch [auth user="$admin"][subject edge=""][client][action operation="get" result="success"] $admin successfully retrieved branch ev with URI path: '/branches/acme/ev'
404 web GET /branches/acme/ev
  <85> branch [auth user="$web"][subject edge=""][client][action operation="get" result="failure"] $web failed to retrieve branch ev with URI path: '/branches/acme/ev': Branch 'ev' not found in account 'acme'
404 web POST /branches/acme {"name":"b1","branch":"ev"}
  <85> branch [auth user="$web"][subject edge=""][client][action operation="create" result="failure"] $web failed to create branch b1 with URI path: '/branches/acme' and JSON object: {"name":"b1","branch":"ev"}: Branch 'ev' not found in account 'acme'
404 web PATCH /branches/acme/ev {"annotations":{"a":"b"}}
  <85> branch [auth user="$web"][subject edge=""][client][action operation="update" result="failure"] $web failed to update branch ev with URI path: '/branches/acme/ev' and JSON object: {"annotations":{"a":"b"}}: Branch 'ev' not found in account 'acme'
404 web DELETE /branches/acme/ev
  <85> branch [auth user="$web"][subject edge=""][client][action operation="delete" result="failure"] $web failed to delete branch ev with URI path: '/branches/acme/ev': Branch 'ev' not found in account 'acme'
404 web POST /groups/acme/ev%2Fg/members {"kind":"host","id":"ev/out"}
  <85> membership [auth user="$web"][subject edge=""][client][action operation="create" result="failure"] $web failed to create membership of host ev/out with URI path: '/groups/acme/ev/g/members' and JSON object: {"kind":"host","id":"ev/out"}: Branch 'ev' not found in account 'acme'
422 admin DELETE /groups/acme/ev%2Fg/members/host/ev%2Fout
  <85> membership [auth user="$admin"][subject edge=""][client][action operation="remove" result="failure"] $admin failed to remove membership of host ev/out with URI path: '/groups/acme/ev/g/members' and JSON object: {"kind":"host","id":"ev/out"}: CONJ00181W 'ev/out' (kind='host') isn't a member of '/ev/g'
200 admin GET /issuers/acme
  <86> issuer [auth user="$admin"][subject account="acme" issuer="*"][client][action operation="list" result="success"] $admin listed acme:issuer:*
403 web GET /issuers/acme
  <84> issuer [auth user="$web"][subject account="acme" issuer="*"][client][action operation="list" result="failure"] $web tried to list acme:issuer:*: Forbidden
403 web POST /issuers/acme id=aws&$aws
  <84> issuer [auth user="$web"][subject account="acme" issuer="aws"][client][action operation="add" result="failure"] $web tried to add acme:issuer:aws: Forbidden
404 admin GET /issuers/acme/none
  <84> issuer [auth user="$admin"][subject account="acme" issuer="none"][client][action operation="fetch" result="failure"] $admin tried to fetch acme:issuer:none: Issuer not found
404 admin PATCH /issuers/acme/none max_ttl=1000
  <84> issuer [auth user="$admin"][subject account="acme" issuer="none"][client][action operation="update" result="failure"] $admin tried to update acme:issuer:none: Issuer not found
404 admin DELETE /issuers/acme/none
  <84> issuer [auth user="$admin"][subject account="acme" issuer="none"][client][action operation="remove" result="failure"] $admin tried to remove acme:issuer:none: Issuer not found
`

const done = `
204 web PATCH /authn-gcp/acme enabled=true
  <86> authn $gcp"$web"][subject role="$web"][client][action operation="update-authenticator-configuration" result="success"] $web successfully updated configuration with authenticator authn-gcp service acme:webservice:conjur/authn-gcp
200 web GET /authn-gcp/acme/status
  <86> authn $gcp"$web"][subject role="$web"][client][action operation="validate-status" result="success"] $web successfully validated status with authenticator authn-gcp service acme:webservice:conjur/authn-gcp
201 web POST /secrets/acme/variable/ev%2Fv changed
  <86> update [auth user="$web"][subject resource="$v"][client][action operation="update" result="success"] $web updated $v
201 web POST /secrets/acme/variable/ev%2Fv?expirations
  <86> update [auth user="$web"][subject resource="$v"][client][action operation="update" result="success"] $web updated $v
204 pat:$key:pat PUT /authn/acme/password Correct-Horse-9
  <86> password [auth user="$pat"][subject role="$pat"][client][action operation="change" result="success"] $pat successfully changed their password
200 pat:Correct-Horse-9 PUT /authn/acme/api_key
  <86> api-key [auth user="$pat"][subject role="$pat"][client][action operation="rotate" result="success"] $pat successfully rotated their API key
200 admin PUT /authn/acme/api_key?role=user:pat
  <86> api-key [auth user="$admin"][subject role="$pat"][client][action operation="rotate" result="success"] $admin successfully rotated the api key for $pat
200 admin POST /policies/acme/policy/loaded?dryRun=true - !group x
  <85> policy [auth user="$admin"][subject resource="acme:policy:loaded"][client][action operation="validate" result="success"] $admin validated policy acme:policy:loaded
422 admin POST /policies/acme/policy/loaded?dryRun=true - !grant { role: !group none, member: !user admin }
  <85> policy [auth user="$admin"][subject][client][action operation="create" result="failure"] Failed to load policy: Group 'loaded/none' not found in account 'acme'
422 admin PATCH /policies/acme/policy/loaded
  <85> policy [auth user="$admin"][subject][client][action operation="update" result="failure"] Failed to load policy: policy_text is not present
201 admin POST /policies/acme/policy/loaded - !variable { id: w, annotations: { note: one } }
  <85> policy [auth user="$admin"][subject annotation="note" resource="acme:variable:loaded/w"][client][action operation="add" result="success"][policy id="acme:policy:loaded" version="1"] $admin added annotation note on acme:variable:loaded/w
  <85> policy [auth user="$admin"][subject resource="acme:variable:loaded/w"][client][action operation="add" result="success"][policy id="acme:policy:loaded" version="1"] $admin added resource acme:variable:loaded/w
201 admin PATCH /policies/acme/policy/loaded - !variable { id: w, annotations: { note: two } }
  <85> policy [auth user="$admin"][subject annotation="note" resource="acme:variable:loaded/w"][client][action operation="change" result="success"][policy id="acme:policy:loaded" version="2"] $admin changed annotation note on acme:variable:loaded/w
201 admin POST /policies/acme/policy/loaded [ !group h, !permit { role: !group h, privilege: read, resource: !variable w }, !grant { role: !group h, member: !user /pat } ]
  <85> policy [auth user="$admin"][subject member="$pat" role="acme:group:loaded/h"][client][action operation="add" result="success"][policy id="acme:policy:loaded" version="3"] $admin added membership of $pat in acme:group:loaded/h
  <85> policy [auth user="$admin"][subject owner="acme:policy:loaded" role="acme:group:loaded/h"][client][action operation="add" result="success"][policy id="acme:policy:loaded" version="3"] $admin added ownership of acme:policy:loaded in acme:group:loaded/h
  <85> policy [auth user="$admin"][subject privilege="read" resource="acme:variable:loaded/w" role="acme:group:loaded/h"][client][action operation="add" result="success"][policy id="acme:policy:loaded" version="3"] $admin added permission of acme:group:loaded/h to read on acme:variable:loaded/w
  <85> policy [auth user="$admin"][subject resource="acme:group:loaded/h"][client][action operation="add" result="success"][policy id="acme:policy:loaded" version="3"] $admin added resource acme:group:loaded/h
  <85> policy [auth user="$admin"][subject role="acme:group:loaded/h"][client][action operation="add" result="success"][policy id="acme:policy:loaded" version="3"] $admin added role acme:group:loaded/h
201 admin PATCH /policies/acme/policy/loaded [ !deny { role: !group h, privilege: read, resource: !variable w }, !revoke { role: !group h, member: !user /pat } ]
  <85> policy [auth user="$admin"][subject member="$pat" role="acme:group:loaded/h"][client][action operation="remove" result="success"][policy id="acme:policy:loaded" version="4"] $admin removed membership of $pat in acme:group:loaded/h
  <85> policy [auth user="$admin"][subject privilege="read" resource="acme:variable:loaded/w" role="acme:group:loaded/h"][client][action operation="remove" result="success"][policy id="acme:policy:loaded" version="4"] $admin removed permission of acme:group:loaded/h to read on acme:variable:loaded/w
204 admin POST /roles/acme/group/loaded%2Fh?members&member=$web
  <85> policy [auth user="$admin"][subject member="$web" role="acme:group:loaded/h"][client][action operation="add" result="success"] $admin added membership of $web in acme:group:loaded/h
204 admin POST /roles/acme/group/loaded%2Fh?members&member=$web
204 admin DELETE /roles/acme/group/loaded%2Fh?members&member=$web
  <85> policy [auth user="$admin"][subject member="$web" role="acme:group:loaded/h"][client][action operation="remove" result="success"] $admin removed membership of $web in acme:group:loaded/h
201 admin POST /branches/acme {"name":"b1","branch":"/ev"}
  <85> branch [auth user="$admin"][subject edge=""][client][action operation="create" result="success"] $admin successfully created branch b1 with URI path: '/branches/acme' and JSON object: {"name":"b1","branch":"/ev"}
200 admin PATCH /branches/acme/ev%2Fb1 {"annotations":{"a":"b"}}
  <85> branch [auth user="$admin"][subject edge=""][client][action operation="update" result="success"] $admin successfully updated branch ev/b1 with URI path: '/branches/acme/ev/b1' and JSON object: {"annotations":{"a":"b"}}
204 admin DELETE /branches/acme/ev%2Fb1
  <85> branch [auth user="$admin"][subject edge=""][client][action operation="delete" result="success"] $admin successfully deleted branch ev/b1 with URI path: '/branches/acme/ev/b1'
201 admin POST /groups/acme/ev%2Fg/members {"kind":"host","id":"ev/in"}
  <85> membership [auth user="$admin"][subject edge=""][client][action operation="create" result="success"] $admin successfully created membership of host ev/in with URI path: '/groups/acme/ev/g/members' and JSON object: {"kind":"host","id":"ev/in"}
204 admin DELETE /groups/acme/ev%2Fg/members/host/ev%2Fin
  <85> membership [auth user="$admin"][subject edge=""][client][action operation="remove" result="success"] $admin successfully removed membership of host ev/in with URI path: '/groups/acme/ev/g/members' and JSON object: {"kind":"host","id":"ev/in"}
201 admin POST /authenticators/acme {"type":"jwt","name":"ci","data":{"jwks_uri":"https://idp.example"}}
  <85> authenticator [auth user="$admin"][subject edge=""][client][action operation="create" result="success"] $admin successfully created authenticator ci with URI path: '/authenticators/acme' and JSON object: {"type":"jwt","name":"ci","enabled":true}
409 admin POST /authenticators/acme {"type":"jwt","name":"ci","data":{"jwks_uri":"https://idp.example"}}
  <85> authenticator [auth user="$admin"][subject edge=""][client][action operation="create" result="failure"] $admin failed to create authenticator ci with URI path: '/authenticators/acme' and JSON object: {"type":"jwt","name":"ci","enabled":true}: The authenticator already exists.
200 admin PATCH /authenticators/acme/gcp/default {"enabled":true}
  <85> authenticator [auth user="$admin"][subject edge=""][client][action operation="enable" result="success"] $admin successfully enabled authenticator default with URI path: '/authenticators/acme/gcp/default' and JSON object: {"enabled":true}
200 admin PATCH /authenticators/acme/gcp/default {"enabled":false}
  <85> authenticator [auth user="$admin"][subject edge=""][client][action operation="update" result="success"] $admin successfully updated authenticator default with URI path: '/authenticators/acme/gcp/default' and JSON object: {"enabled":false}
204 admin DELETE /authenticators/acme/jwt/ci
  <85> authenticator [auth user="$admin"][subject edge=""][client][action operation="delete" result="success"] $admin successfully deleted authenticator ci with URI path: '/authenticators/acme/jwt/ci'
201 admin POST /issuers/acme id=aws&$aws
  <86> issuer [auth user="$admin"][subject account="acme" issuer="aws"][client][action operation="add" result="success"] $admin added acme:issuer:aws
200 admin GET /issuers/acme/aws
  <86> issuer [auth user="$admin"][subject account="acme" issuer="aws"][client][action operation="fetch" result="success"] $admin fetched acme:issuer:aws
200 admin PATCH /issuers/acme/aws max_ttl=1000
  <86> issuer [auth user="$admin"][subject account="acme" issuer="aws"][client][action operation="update" result="success"] $admin updated acme:issuer:aws
201 admin POST /policies/acme/policy/data%2Fdynamic # nothing
201 admin POST /policies/acme/policy/data%2Fdynamic - !variable { id: x, annotations: { dynamic/issuer: aws, dynamic/method: assume-role } }
  <85> policy [auth user="$admin"][subject annotation="dynamic/issuer" resource="acme:variable:data/dynamic/x"][client][action operation="add" result="success"][policy id="acme:policy:data/dynamic" version="2"] $admin added annotation dynamic/issuer on acme:variable:data/dynamic/x
  <85> policy [auth user="$admin"][subject annotation="dynamic/method" resource="acme:variable:data/dynamic/x"][client][action operation="add" result="success"][policy id="acme:policy:data/dynamic" version="2"] $admin added annotation dynamic/method on acme:variable:data/dynamic/x
  <85> policy [auth user="$admin"][subject resource="acme:variable:data/dynamic/x"][client][action operation="add" result="success"][policy id="acme:policy:data/dynamic" version="2"] $admin added resource acme:variable:data/dynamic/x
204 admin DELETE /issuers/acme/aws
  <86> issuer [auth user="$admin"][subject account="acme" issuer="aws"][client][action operation="remove" result="success"] $admin removed acme:issuer:aws
  <86> variable [auth user="$admin"][subject account="acme" issuer="aws" resource="acme:variable:data/dynamic/x" resource_id="acme:variable:data/dynamic/x"][client][action operation="remove" result="success"] $admin removed acme:variable:data/dynamic/x
`

type Turn = { readonly request: string; readonly records: readonly string[] }

const inFull = (text: string): string =>
  Object.entries(words).reduce((full, [name, value]) => full.replaceAll(name, value), text)

function turnsOf(transcript: string): Turn[] {
  const turns: { request: string; records: string[] }[] = []
  for (const line of inFull(transcript.trim()).split('\n')) {
    if (line.startsWith('  ')) turns.at(-1)!.records.push(line.trim())
    else turns.push({ request: line, records: [] })
  }
  return turns
}

const ELEMENTS = ['auth', 'subject', 'client', 'action', 'policy']

/** A row as the transcript has it. What is not among the elements stands last. */
function written({ facility, severity, msgid, sdata, message }: AuditRow): string {
  const names = Object.keys(sdata).map((name) => name.replace(/@43868$/, ''))
  const rank = (name: string): number =>
    (ELEMENTS.indexOf(name) + ELEMENTS.length + 1) % (ELEMENTS.length + 1)
  names.sort((a, b) => rank(a) - rank(b))
  const elements = names.map((name) => {
    const params = Object.entries(sdata[`${name}@43868`]!).sort(([a], [b]) => (a < b ? -1 : 1))
    return `[${[name, ...params.map(([key, value]) => `${key}="${value}"`)].join(' ')}]`
  })
  return `<${facility * 8 + severity}> ${msgid} ${elements.join('')} ${message}`
}

let world: World
let google: IdentityProvider
const keys: Record<string, string> = {}
beforeAll(async () => {
  google = await IdentityProvider.start()
  world = await startWorld({
    env: {
      CONJUR_FEATURE_DYNAMIC_SECRETS_ENABLED: 'true',
      HOLDFAST_AUTHN_GCP_PROVIDER: google.url,
      HOLDFAST_AUTHN_PRIVATE_NETWORKS: '127.0.0.0/8',
    },
  })
  const loaded = await world.admin.loadPolicy('root', policy)
  const { created_roles } = (await loaded.json()) as { created_roles: Record<string, { api_key: string }> }
  keys.pat = created_roles['acme:user:pat']!.api_key
  keys.web = world.keys.get('acme:host:app/web')!
  keys.far = world.keys.get('acme:host:app/far')!
  expect((await world.web.setSecret('ev/v', 'value')).status).toBe(201)
  await settled(world)
})
afterAll(() => Promise.all([world?.machine.stop(), google?.goAway()]))

function headersOf(who: string, path: string): Record<string, string> {
  const common = { ...FORM, ...(/^\/(authenticators|branches|groups)\//.test(path) ? { Accept: V2 } : {}) }
  if (who === 'admin' || who === 'web' || who === 'onlooker')
    return { ...common, Authorization: world[who].authorization }
  if (who.startsWith('@')) return { ...common, 'X-Forwarded-For': who.slice(1) }
  const colon = who.indexOf(':')
  return colon < 0 ? common : { ...common, ...basic(who.slice(0, colon), who.slice(colon + 1)) }
}

let asked = 0

async function take({ request, records }: Turn, url: string): Promise<void> {
  const withKeys = request.replace(/\$key:(\w+)/g, (_, name: string) => keys[name]!)
  const [, status, who, method, path, body] = /^(\d+) (\S+) (\S+) (\S+) ?(.*)$/.exec(withKeys)!
  const id = `turn-${++asked}`
  const response = await fetch(url + path, {
    method: method!,
    headers: { ...headersOf(who!, path!), 'X-Request-Id': id },
    ...(method === 'GET' ? {} : { body: body! }),
  })
  expect([response.status, await response.text()]).toEqual([Number(status), expect.any(String)])
  const found = records.length === 0 ? await none(id) : await recordsOf(world, id)
  expect(found.map(written).sort()).toEqual([...records].sort())
}

/** Records of the Leader are there when it has answered. */
async function none(id: string): Promise<AuditRow[]> {
  const response = await world.admin.request('GET', `/audit?procid=${id}`)
  return (await response.json()) as AuditRow[]
}

describe.each(['leader', 'follower'] as const)('what is read or refused at the %s', (node) => {
  // At once: a Follower sends its records now and then, and nobody need wait for each.
  for (const transcript of [authentication, secrets, directory, credentials, policies, v2])
    test.concurrent.each(turnsOf(transcript))('$request', async (turn) => {
      await take(turn, world.machine[node].url)
    })
})

describe('what is done at the Leader', () => {
  test.each(turnsOf(done))('$request', async (turn) => {
    await take(turn, world.machine.leader.url)
  })
})

test('a line has its elements in their order: who authenticates stands first, a policy last', async () => {
  const client = new Client(world.machine.leader.url, 'acme')
  await client.request('GET', '/authn/acme/login', {
    headers: { Authorization: '', 'X-Request-Id': 'line-1' },
  })
  await world.admin.request('POST', '/policies/acme/policy/loaded', {
    body: '- !webservice ws\n',
    headers: { 'X-Request-Id': 'line-2' },
  })
  expect(await recordsOf(world, 'line-2')).toHaveLength(1)
  const linesOf = (id: string): string[] =>
    readFileSync(join(world.machine.directory, 'leader', 'audit.log'), 'utf8')
      .split('\n')
      .filter((line) => line.includes(` ${id} `))
  // The file follows the database.
  while (linesOf('line-2').length === 0) await world.admin.request('GET', '/audit?limit=1')
  const start = (id: string): RegExp =>
    new RegExp(`^<8[45]>1 \\d{4}-\\d\\d-\\d\\dT[\\d:.]{12}Z \\S+ conjur ${id} `)
  for (const [id, rest] of [
    [
      'line-1',
      'authn [subject@43868 role="acme:user:USERNAME_MISSING"][auth@43868 user="not-found" authenticator="authn" service="acme:webservice:conjur/authn"]' +
        '[client@43868 ip="127.0.0.1"][action@43868 result="failure" operation="login"] acme:user:USERNAME_MISSING failed to login with authenticator authn ' +
        'service acme:webservice:conjur/authn: CONJ00009E Credentials are missing',
    ],
    [
      'line-2',
      'policy [auth@43868 user="acme:user:admin"][subject@43868 resource="acme:webservice:loaded/ws"][client@43868 ip="127.0.0.1"]' +
        '[action@43868 result="success" operation="add"][policy@43868 id="acme:policy:loaded" version="5"] acme:user:admin added resource acme:webservice:loaded/ws',
    ],
  ] as const) {
    const [line] = linesOf(id)
    expect(line).toMatch(start(id))
    expect(line!.replace(start(id), '').replace(/\[meta sequenceId="\d+"\]/, '')).toBe(rest)
  }
})

describe('queries', () => {
  const ask = async (path: string): Promise<Answered> => answered(world.web.request('GET', `/audit${path}`))
  const found = async (path: string): Promise<AuditRow[]> => {
    const [status, rows] = await ask(path)
    expect([path, status]).toEqual([path, 200])
    return rows as AuditRow[]
  }

  test('find what is about a resource, a role, or either, wherever it is named', async () => {
    for (const [path, msgid] of [
      ['/resources/acme:variable:ev/v', 'fetch'],
      ['/resources/acme%3Avariable%3Aev%2Fv', 'update'],
      ['/resources/acme:webservice:conjur/authn', 'authn'],
      ['/resources/acme:policy:loaded', 'policy'],
      ['/roles/acme:host:app/web', 'fetch'],
      ['/roles/acme:user:pat', 'api-key'],
      ['/roles/acme:policy:loaded', 'policy'],
      ['/entities/acme:variable:ev/v', 'fetch'],
      ['/entities/acme:user:pat', 'password'],
    ]) {
      const [, id] = /^\/\w+\/(.+)$/.exec(decodeURIComponent(path!))!
      const rows = await found(`${path}?msgid=${msgid}`)
      for (const row of rows)
        expect([row.msgid, JSON.stringify(row.sdata)]).toEqual([msgid, expect.stringContaining(id!)])
    }
    const members = await found('/roles/acme:user:pat?msgid=policy&action@43868/operation=remove')
    expect(members.map(({ sdata }) => sdata['subject@43868'])).toEqual([
      { member: 'acme:user:pat', role: 'acme:group:loaded/h' },
    ])
    for (const path of ['', '/resources/acme:user:none', '/roles/acme:user:none', '/entities/acme:user:none'])
      expect(await ask(`${path}?procid=none`)).toEqual([404, []])
    expect(await ask('/resources/acme:user:pat?msgid=api-key')).toEqual([404, []])
  })

  test('by columns and parameters, page by page, newest first', async () => {
    const own = '/roles/acme:host:app/web?msgid=fetch&facility=10&severity=6&appname=conjur'
    const rows = await found(`${own}&subject@43868/resource=acme:variable:ev/v`)
    expect(rows.length).toBeGreaterThan(2)
    const times = rows.map((row) => (row as unknown as { timestamp: string }).timestamp)
    expect(times).toEqual([...times].sort().reverse())
    expect(await found(`${own}&subject@43868/resource=acme:variable:ev/v&limit=1&offset=1`)).toEqual([
      rows[1],
    ])
    expect(await ask(`${own}&severity=5`)).toEqual([404, []])
    for (const path of ['', '/resources/x', '/roles/x', '/entities/x'])
      for (const name of ['limit', 'offset'])
        for (const value of ['x', '-1', '1.5'])
          expect(await ask(`${path}?${name}=${value}`)).toEqual(argument(`'${name}' must be a whole number`))
  })
})
