"""Calls of conjur-api, unmodified, against a Leader and a Follower. Prints `ok NAME` or `fail NAME: why` per call."""

import asyncio
import os
import sys

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
from conjur_api.models.general.resource import Resource
from conjur_api.providers import AuthnAuthenticationStrategy, SimpleCredentialsProvider

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


def client_at(url, login, key):
    """The client of one role, who gives its API key as the password."""
    provider = SimpleCredentialsProvider()
    provider.save(CredentialsData(machine=url, username=login, password=key))
    return Client(
        ConjurConnectionInfo(conjur_url=url, account=os.environ["CONJUR_ACCOUNT"], cert_file=os.environ["CONJUR_CERT_FILE"]),
        ssl_verification_mode=SslVerificationMode.CA_BUNDLE,
        authn_strategy=AuthnAuthenticationStrategy(provider),
    )


async def reads(where, client):
    """What both nodes answer."""
    await step(f"{where} get", client.get("python/db/user"), lambda value: value == b"second")
    await step(f"{where} get of a version", client.get("python/db/user", "1"), lambda value: value == b"first")
    await step(
        f"{where} get_many",
        client.get_many("python/db/user", "python/db/pw"),
        lambda found: set(found.values()) == {"second", "word"},
    )
    await step(f"{where} list", client.list({"kind": "variable", "search": "user"}), lambda found: len(found) >= 1)
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
        f"{where} list_permitted_roles",
        client.list_permitted_roles(ListPermittedRolesData("python/db/user", "execute", "variable")),
        lambda roles: "acme:host:python/web" in roles,
    )
    members = ListMembersOfData(identifier="python/readers")
    members.set_resource(Resource("group", "python/readers"))
    await step(f"{where} list_members_of_role", client.list_members_of_role(members), lambda found: len(found) == 2)
    await step(f"{where} whoami", client.whoami(), lambda who: who["username"] == "admin")


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
    await step("server_version", admin.server_version(), lambda value: value >= "1.24")
    await step("get_server_info", admin.get_server_info(), lambda info: info is not None)
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
    await step("replace_policy_file", admin.replace_policy_file("pythonput", other))
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

    web = client_at(follower, "host/python/web", loaded["created_roles"]["acme:host:python/web"]["api_key"])
    await step("a host at the Follower", web.get("python/db/user"), lambda value: value == b"second")
    token = await step(
        "create_token",
        admin.create_token(CreateTokenData(host_factory="python/hf", cidr="127.0.0.0/8", hours=1)),
        lambda made: len(made) == 1,
    )
    raw = token[0]["token"]
    await step("create_host", admin.create_host(CreateHostData("python/made", raw)), lambda host: host["api_key"] != "")
    await step("revoke_token", admin.revoke_token(raw))
    await step(
        "rotate_other_api_key", admin.rotate_other_api_key(Resource("host", "python/web")), lambda value: len(value) > 40
    )
    ann = loaded["created_roles"]["acme:user:ann@python"]["api_key"]
    fresh = await step("rotate_personal_api_key", admin.rotate_personal_api_key("ann@python", ann), lambda value: value != ann)
    await step("change_personal_password", admin.change_personal_password("ann@python", fresh, "My-Secret-Pa55!"))
    await step("login with the password", client_at(leader, "ann@python", "My-Secret-Pa55!").login(), lambda value: value == fresh)


asyncio.run(main())
sys.exit(1 if failed else 0)
