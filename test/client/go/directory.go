// Resources, roles, members and public keys.
package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/cyberark/conjur-api-go/conjurapi"
)

func readDirectory(where string, client *conjurapi.Client) {
	readResources(where, client)
	readPermissions(where, client)
	readRoles(where, client)
}

func readResources(where string, client *conjurapi.Client) {
	step(where+" Resources", func() error {
		found, err := client.Resources(&conjurapi.ResourceFilter{Kind: "variable", Search: "user", Limit: 5})
		return errors.Join(err, want(len(found) == 1, found))
	})
	step(where+" Resources of a page", func() error {
		all, err := client.Resources(&conjurapi.ResourceFilter{Kind: "host"})
		second, more := client.Resources(&conjurapi.ResourceFilter{Kind: "host", Limit: 1, Offset: 1})
		return errors.Join(err, more, want(len(second) == 1 && second[0]["id"] == all[1]["id"], second))
	})
	step(where+" Resources of a role", func() error {
		filter := conjurapi.ResourceFilter{Kind: "variable", Role: "acme:group:go/readers"}
		found, err := client.Resources(&filter)
		return errors.Join(err, want(len(found) == 2, found))
	})
	step(where+" ResourceIDs", func() error {
		ids, err := client.ResourceIDs(&conjurapi.ResourceFilter{Kind: "host"})
		return errors.Join(err, want(slices.Contains(ids, "acme:host:go/web"), ids))
	})
	step(where+" ResourcesCount", func() error {
		count, err := client.ResourcesCount(&conjurapi.ResourceFilter{Kind: "host", Search: "web"})
		return errors.Join(err, want(count != nil && count.Count == 1, count))
	})
	step(where+" Resource", func() error {
		resource, err := client.Resource("acme:variable:go/db/user")
		return errors.Join(err, want(resource["owner"] == "acme:policy:go", resource))
	})
	step(where+" ResourceExists", func() error {
		here, err := client.ResourceExists("acme:variable:go/db/user")
		gone, goneErr := client.ResourceExists("acme:variable:go/none")
		return errors.Join(err, goneErr, want(here && !gone, here))
	})
	step(where+" PublicKeys", func() error {
		keys, err := client.PublicKeys("user", "ann@go")
		return errors.Join(err, want(strings.HasSuffix(string(keys), "laptop\n"), string(keys)))
	})
}

func readPermissions(where string, client *conjurapi.Client) {
	step(where+" PermittedRoles", func() error {
		roles, err := client.PermittedRoles("acme:variable:go/db/user", "execute")
		return errors.Join(err, want(slices.Contains(roles, "acme:host:go/web"), roles))
	})
	step(where+" CheckPermission", func() error {
		allowed, err := client.CheckPermission("acme:variable:go/db/user", "execute")
		return errors.Join(err, want(allowed, allowed))
	})
	step(where+" CheckPermissionForRole", func() error {
		may, err := client.CheckPermissionForRole("acme:variable:go/db/user", "acme:host:go/web", "execute")
		mayNot, more := client.CheckPermissionForRole("acme:variable:go/db/user", "acme:host:go/web", "update")
		return errors.Join(err, more, want(may && !mayNot, may))
	})
}

func readRoles(where string, client *conjurapi.Client) {
	step(where+" Role", func() error {
		role, err := client.Role("acme:group:go/readers")
		return errors.Join(err, want(role["id"] == "acme:group:go/readers", role))
	})
	step(where+" RoleExists", func() error {
		here, err := client.RoleExists("acme:group:go/readers")
		gone, goneErr := client.RoleExists("acme:group:go/none")
		return errors.Join(err, goneErr, want(here && !gone, here))
	})
	step(where+" RoleMembers", func() error {
		members, err := client.RoleMembers("acme:group:go/readers")
		return errors.Join(err, want(len(members) == 3, members))
	})
	step(where+" RoleMemberships", func() error {
		memberships, err := client.RoleMemberships("acme:host:go/web")
		return errors.Join(err, want(len(memberships) == 1, memberships))
	})
	step(where+" RoleMembershipsAll", func() error {
		all, err := client.RoleMembershipsAll("acme:host:go/web")
		return errors.Join(err, want(slices.Contains(all, "acme:group:go/readers"), all))
	})
}

func changeMembers(admin *conjurapi.Client) {
	member := conjurapi.GroupMember{ID: "go/other", Kind: "host"}
	step("V2 AddGroupMember", func() error {
		added, err := admin.V2().AddGroupMember("go/readers", member)
		return errors.Join(err, want(added != nil && *added == member, added))
	})
	step("V2 AddGroupMember again", func() error {
		_, err := admin.V2().AddGroupMember("go/readers", member)
		return refused("CONJ00180W", err)
	})
	step("V2 RemoveGroupMember", func() error {
		_, err := admin.V2().RemoveGroupMember("go/readers", member)
		return err
	})
	step("V2 RemoveGroupMember again", func() error {
		_, err := admin.V2().RemoveGroupMember("go/readers", member)
		return refused("CONJ00181W", err)
	})
}
