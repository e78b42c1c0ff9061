"""Calls of conjur-api, unmodified, against a Leader and a Follower. Prints `ok NAME` or `fail NAME: why` per call."""

import asyncio
import json
import os
import ssl
import sys
import urllib.request

from conjur_api import Client
from conjur_api.models import (
    ConjurConnectionInfo,
    CreateHostData,
    CreateTokenData,
    CredentialsData,
    ListMembersOfData,
    ListPermittedRolesData,
    SslVerificationMode,
)
from conjur_api.errors.errors import HttpStatusError, ResourceNotFoundException
from conjur_api.models.general.resource import Resource
from conjur_api.providers import AuthnAuthenticationStrategy, SimpleCredentialsProvider, TokenAuthenticationStrategy

POLICY = """
- !policy
  id: python
  body:
  - !user ann
  - !host web
  - !group readers
  - !layer
  - !host-factory { id: hf, layers: [ !layer ] }
  - &secrets
    - !variable db/user
    - !variable db/pw
  - !permit { role: !group readers, privileges: [ read, execute ], resources: *secrets }
  - !grant { role: !group readers, member: !host web }
- !policy
  id: conjur/authn-jwt/python
  body:
  - !webservice
"""

failed = False


async def step(name, call, holds=lambda value: True):
    """One call, and whether what came of it is right."""
    global failed
    try:
        value = await call
        if holds(value):
            print(f"ok {name}", flush=True)
            return value
        why = f"unexpected: {value!r}"
    except Exception as error:  # whatever the client throws is the failure of this call
        why = f"{type(error).__name__}: {error}"
    failed = True
    print(f"fail {name}: {why}".replace("\n", " ")[:500], flush=True)
    return None


async def refused(name, call, *statuses):
    """One call that has to be refused."""

    async def tried():
        try:
            return await call
        except HttpStatusError as error:
            return error.status
        except ResourceNotFoundException:
            return 404

    await step(name, tried(), lambda value: value in statuses)


def client_of(url, strategy, **credentials):
    """The client of one role."""
    provider = SimpleCredentialsProvider()
    provider.save(CredentialsData(machine=url, **credentials))
    return Client(
        ConjurConnectionInfo(conjur_url=url, account=os.environ["CONJUR_ACCOUNT"], cert_file=os.environ["CONJUR_CERT_FILE"]),
        ssl_verification_mode=SslVerificationMode.CA_BUNDLE,
        authn_strategy=strategy(provider),
    )


def client_at(url, login, key):
    """The client of one role, who gives its API key as the password."""
    return client_of(url, AuthnAuthenticationStrategy, username=login, password=key)


def enabled_at(url):
    """Names of the authenticators that are on."""
    context = ssl.create_default_context(cafile=os.environ["CONJUR_CERT_FILE"])
    with urllib.request.urlopen(f"{url}/authenticators", context=context) as answer:
        return json.load(answer)["enabled"]


async def reads(where, client):
    """What both nodes answer."""
    await step(f"{where} get", client.get("python/db/user"), lambda value: value == b"second")
    await step(f"{where} get of a version", client.get("python/db/user", "1"), lambda value: value == b"first")
    await step(
        f"{where} get_many",
        client.get_many("python/db/user", "python/db/pw"),
        lambda found: set(found.values()) == {"second", "word"},
    )
    await refused(f"{where} get without a value", client.get("python/none"), 404)
    await step(f"{where} list", client.list(), lambda found: "acme:host:python/web" in found)
    await step(
        f"{where} list by what is said of it",
        client.list({"kind": "variable", "search": "user", "limit": 5, "offset": 0, "inspect": True}),
        lambda found: all("secrets" in resource for resource in found) and len(found) >= 1,
    )
    await step(
        f"{where} list of a role",
        client.list({"kind": "variable", "role": "acme:group:python/readers"}),
        lambda found: len(found) == 2,
    )
    await step(
        f"{where} find_resource_by_identifier",
        client.find_resource_by_identifier("python/db/user"),
        lambda found: found == Resource("variable", "python/db/user"),
    )
    await step(
        f"{where} find_resources_by_identifier",
        client.find_resources_by_identifier("python/none"),
        lambda found: found == [],
    )
    await refused(f"{where} find_resource_by_identifier not", client.find_resource_by_identifier("python/none"), 404)
    await step(
        f"{where} get_resource",
        client.get_resource("variable", "python/db/user"),
        lambda resource: resource["owner"] == "acme:policy:python",
    )
    await step(f"{where} resource_exists", client.resource_exists("variable", "python/db/user"), lambda value: value)
    await step(f"{where} resource_exists not", client.resource_exists("variable", "python/no"), lambda value: not value)
    await step(f"{where} check_privilege", client.check_privilege("variable", "python/db/user", "execute"), lambda value: value)
    await step(
        f"{where} check_privilege of another",
        client.check_privilege("variable", "python/db/user", "update", "acme:host:python/web"),
        lambda value: not value,
    )
    await step(f"{where} get_role", client.get_role("group", "python/readers"), lambda role: len(role["members"]) == 2)
    await step(f"{where} role_exists", client.role_exists("group", "python/readers"), lambda value: value)
    await step(
        f"{where} role_memberships",
        client.role_memberships("host", "python/web"),
        lambda roles: "acme:group:python/readers" in roles,
    )
    await step(
        f"{where} role_memberships, direct",
        client.role_memberships("host", "python/web", direct=True),
        lambda roles: roles == ["acme:group:python/readers"],
    )
    await step(f"{where} role_exists not", client.role_exists("group", "python/no"), lambda value: not value)
    await step(
        f"{where} list_permitted_roles",
        client.list_permitted_roles(ListPermittedRolesData("python/db/user", "execute", "variable")),
        lambda roles: "acme:host:python/web" in roles,
    )
    members = ListMembersOfData(identifier="python/readers")
    members.set_resource(Resource("group", "python/readers"))
    await step(f"{where} list_members_of_role", client.list_members_of_role(members), lambda found: len(found) == 2)
    members = ListMembersOfData(identifier="python/readers", kind="host", search="web", limit=1, inspect=True)
    members.set_resource(Resource("group", "python/readers"))
    await step(
        f"{where} list_members_of_role of a kind",
        client.list_members_of_role(members),
        lambda found: [member["member"] for member in found] == ["acme:host:python/web"],
    )
    await step(f"{where} whoami", client.whoami(), lambda who: who["username"] == "admin")
    await step(f"{where} server_version", client.server_version(), lambda value: value >= "1.24")
    await step(f"{where} get_server_info", client.get_server_info(), lambda info: "possum" in info["services"])


async def sessions(where, url, host_key):
    """What a host does that has a key, and one that has only a token."""
    web = client_at(url, "host/python/web", host_key)
    await step(f"{where} login", web.login(), lambda value: value == host_key)
    token, expiry = await step(f"{where} authenticate", web.authenticate(), lambda value: "payload" in value[0])
    await step(f"{where} get by a host", web.get("python/db/user"), lambda value: value == b"second")
    held = client_of(url, TokenAuthenticationStrategy, api_token=token, api_token_expiration=expiry)
    await step(f"{where} get with a token", held.get("python/db/user"), lambda value: value == b"second")
    await refused(f"{where} login with a wrong key", client_at(url, "host/python/web", "wrong").login(), 401)


async def authenticators(admin, enabled):
    """Switching them; `enabled` says which are on."""
    for on in (True, False):
        await step(
            f"set_authenticator_state {on}",
            admin.set_authenticator_state("authn-jwt/python", on),
            lambda value: ("authn-jwt/python" in enabled()) == on,
        )
    await refused("set_authenticator_state of none", admin.set_authenticator_state("authn-jwt/none", True), 401)


async def main():
    """Everything, in the order of a team that begins with it."""
    leader, follower = os.environ["CONJUR_APPLIANCE_URL"], os.environ["CONJUR_FOLLOWER_URL"]
    key = os.environ["CONJUR_ADMIN_KEY"]
    text = os.path.join(os.environ["CONJUR_WORK_DIR"], "policy.yml")
    with open(text, "w", encoding="utf-8") as file:
        file.write(POLICY)
    admin = client_at(leader, "admin", key)

    await step("login", admin.login(), lambda value: value == key)
    await step("authenticate", admin.authenticate(), lambda value: "payload" in value[0])
    await step(
        "load_policy_file, dry run",
        admin.load_policy_file("root", text, dry_run=True),
        lambda report: report["status"] == "Valid YAML",
    )
    loaded = await step(
        "load_policy_file", admin.load_policy_file("root", text), lambda report: len(report["created_roles"]) == 2
    )
    await step("update_policy_file", admin.update_policy_file("root", text), lambda report: report["version"] > 1)
    other = os.path.join(os.environ["CONJUR_WORK_DIR"], "other.yml")
    with open(other, "w", encoding="utf-8") as file:
        file.write("- !policy pythonput\n")
    await step("load_policy_file of another", admin.load_policy_file("root", other))
    with open(other, "w", encoding="utf-8") as file:
        file.write("- !variable only\n")
    await step(
        "replace_policy_file, dry run",
        admin.replace_policy_file("pythonput", other, dry_run=True),
        lambda report: len(report["created"]["items"]) == 1,
    )
    await step("replace_policy_file", admin.replace_policy_file("pythonput", other))
    await step(
        "update_policy_file, dry run",
        admin.update_policy_file("pythonput", other, dry_run=True),
        lambda report: report["status"] == "Valid YAML",
    )
    with open(other, "w", encoding="utf-8") as file:
        file.write("- !variabel wrong\n")
    await refused("load_policy_file of a wrong text", admin.load_policy_file("root", other), 422)
    for name, value in (("db/user", "first"), ("db/user", "second"), ("db/pw", "word")):
        await step(f"set {name}", admin.set(f"python/{name}", value))
    await reads("Leader", admin)

    there = client_at(follower, "admin", key)
    for _ in range(200):
        try:
            if await there.get("python/db/pw") == b"word":
                break
        except Exception:  # not there yet
            pass
    await reads("Follower", there)

    host_key = loaded["created_roles"]["acme:host:python/web"]["api_key"]
    for where, url in (("Leader", leader), ("Follower", follower)):
        await sessions(where, url, host_key)
    await refused("Follower set is refused", there.set("python/db/user", "third"), 405)
    await authenticators(admin, lambda: enabled_at(leader))
    token = await step(
        "create_token",
        admin.create_token(CreateTokenData(host_factory="python/hf", cidr="127.0.0.0/8", hours=1)),
        lambda made: len(made) == 1,
    )
    raw = token[0]["token"]
    await step("create_host", admin.create_host(CreateHostData("python/made", raw)), lambda host: host["api_key"] != "")
    await step(
        "create_host with annotations",
        admin.create_host(CreateHostData("python/made2", raw, {"team": "python"})),
        lambda host: host["annotations"][0]["value"] == "python",
    )
    await step("revoke_token", admin.revoke_token(raw), lambda status: status == 204)
    await refused("create_host with a revoked token", admin.create_host(CreateHostData("python/made3", raw)), 401)
    await step(
        "rotate_other_api_key", admin.rotate_other_api_key(Resource("host", "python/web")), lambda value: len(value) > 40
    )
    ann = loaded["created_roles"]["acme:user:ann@python"]["api_key"]
    fresh = await step("rotate_personal_api_key", admin.rotate_personal_api_key("ann@python", ann), lambda value: value != ann)
    await step("change_personal_password", admin.change_personal_password("ann@python", fresh, "My-Secret-Pa55!"))
    await refused("change_personal_password to a weak one", admin.change_personal_password("ann@python", fresh, "weak"), 422)
    await step("login with the password", client_at(leader, "ann@python", "My-Secret-Pa55!").login(), lambda value: value == fresh)


asyncio.run(main())
sys.exit(1 if failed else 0)
