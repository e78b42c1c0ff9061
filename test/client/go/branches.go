// Branches.
package main

import (
	"errors"

	"github.com/cyberark/conjur-api-go/conjurapi"
)

func createBranches(admin *conjurapi.Client) {
	step("V2 CreateBranch", func() error {
		made, err := admin.V2().CreateBranch(conjurapi.Branch{Name: "part", Branch: "go"})
		return errors.Join(err, want(made != nil && made.Name == "part" && made.Branch == "go" && made.Owner.Id == "go", made))
	})
	step("V2 CreateBranch in root, of another owner", func() error {
		branch := conjurapi.Branch{
			Name:        "go-top",
			Branch:      "/",
			Owner:       &conjurapi.Owner{Kind: "group", Id: "go/keepers"},
			Annotations: map[string]string{"team": "go"},
		}
		made, err := admin.V2().CreateBranch(branch)
		return errors.Join(err, want(made != nil && made.Branch == "/" && *made.Owner == *branch.Owner, made))
	})
	step("V2 CreateBranch that is there", func() error {
		_, err := admin.V2().CreateBranch(conjurapi.Branch{Name: "part", Branch: "go"})
		return refused("already exists", err)
	})
	step("V2 CreateBranch in one that is not there", func() error {
		_, err := admin.V2().CreateBranch(conjurapi.Branch{Name: "part", Branch: "none"})
		return refused("Branch 'none' not found", err)
	})
}

func readBranches(where string, client *conjurapi.Client) {
	step(where+" V2 ReadBranch", func() error {
		found, err := client.V2().ReadBranch("go/part")
		top, more := client.V2().ReadBranch("go-top")
		return errors.Join(err, more, want(found.Branch == "go" && top.Annotations["team"] == "go", found))
	})
	step(where+" V2 ReadBranch that is not there", func() error {
		_, err := client.V2().ReadBranch("go/none")
		return refused("not found", err)
	})
	step(where+" V2 ReadBranches", func() error {
		all, err := client.V2().ReadBranches(nil)
		return errors.Join(err, want(all.Count == len(all.Branches) && all.Count > 2, all))
	})
	step(where+" V2 ReadBranches of a page", func() error {
		all := must(client.V2().ReadBranches(nil))
		page, err := client.V2().ReadBranches(&conjurapi.BranchFilter{Limit: 1, Offset: 1})
		return errors.Join(err, want(len(page.Branches) == 1 && page.Branches[0].Name == all.Branches[1].Name, page))
	})
}

func changeBranches(admin *conjurapi.Client) {
	step("V2 UpdateBranch", func() error {
		_, err := admin.V2().UpdateBranch(conjurapi.Branch{
			Name:        "go/part",
			Owner:       &conjurapi.Owner{Kind: "user", Id: "admin"},
			Annotations: map[string]string{"team": "other"},
		})
		found, more := admin.V2().ReadBranch("go/part")
		return errors.Join(err, more, want(found.Owner.Kind == "user" && found.Annotations["team"] == "other", found))
	})
	step("V2 DeleteBranch", func() error {
		_, err := admin.V2().DeleteBranch("go/part")
		_, gone := admin.V2().ReadBranch("go/part")
		return errors.Join(err, refused("not found", gone))
	})
	step("V2 DeleteBranch that is not there", func() error {
		_, err := admin.V2().DeleteBranch("go/part")
		return refused("not found", err)
	})
}
