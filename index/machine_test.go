package index_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"customhouse"
	"customhouse/index"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var sameMachine = cmp.Options{same, cmpopts.EquateComparable(netip.Prefix{})}

func TestRobots(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	db, ctx := openAt(t, &now), t.Context()
	robot := customhouse.Robot{
		Name: "ci", Labels: map[string][]string{"group": {"ci", "night"}}, Owner: customhouse.Owner{Account: "alice", Method: "accounts"}, Created: now,
	}
	secret := func(id string, expires time.Time) customhouse.MachineCredential {
		return customhouse.MachineCredential{
			ID: id, Kind: customhouse.RobotSecret, Owner: customhouse.Owner{Account: "ci"}, Name: id, Hash: [32]byte{1, 2}, Created: now, Expires: expires,
			Scopes: []customhouse.Scope{{Repo: "a", Tag: "v*", Actions: []customhouse.Action{"pull"}}}, Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		}
	}
	first := secret("one", now.Add(48*time.Hour))
	must(t, db.AddRobot(ctx, robot, first))
	got, err := db.Robot(ctx, "ci")
	must(t, err)
	if diff := cmp.Diff(robot, got, same); diff != "" {
		t.Errorf("Robot (-add +got):\n%s", diff)
	}
	secrets, err := db.MachineCredentials(ctx, customhouse.RobotSecret, "ci")
	must(t, err)
	if diff := cmp.Diff([]customhouse.MachineCredential{first}, secrets, sameMachine); diff != "" {
		t.Errorf("MachineCredentials (-add +got):\n%s", diff)
	}
	// its name is its own
	must(t, db.PutAccount(ctx, customhouse.Account{Name: "alice"}))
	_, err = db.PutSignIn(ctx, customhouse.SignIn{Provider: "github", Issuer: "i", Subject: "1", Account: "bob"}, true)
	must(t, err)
	for _, name := range []string{"ci", "alice", "bob"} {
		if err := db.AddRobot(ctx, customhouse.Robot{Name: name}, secret("x", now)); !errors.Is(err, customhouse.ErrTaken) {
			t.Errorf("AddRobot(%s) = %v, want ErrTaken", name, err)
		}
	}
	// two secrets, and no more
	grace := now.Add(time.Hour)
	must(t, db.RotateRobot(ctx, secret("two", now.Add(48*time.Hour)), grace))
	var full *customhouse.Error
	if err := db.RotateRobot(ctx, secret("three", now.Add(48*time.Hour)), now.Add(time.Minute)); !errors.As(err, &full) || full.Code != customhouse.Denied {
		t.Errorf("RotateRobot with two = %v, want DENIED", err)
	}
	secrets, err = db.MachineCredentials(ctx, customhouse.RobotSecret, "ci")
	must(t, err)
	if len(secrets) != 2 || !secrets[0].Expires.Equal(grace) && !secrets[1].Expires.Equal(grace) {
		t.Errorf("secrets = %+v, want the first until %v", secrets, grace)
	}
	now = grace
	must(t, db.RotateRobot(ctx, secret("three", now.Add(48*time.Hour)), now.Add(time.Minute)))
	wantNotFound(t, "RotateRobot of nobody", db.RotateRobot(ctx, customhouse.MachineCredential{ID: "x", Owner: customhouse.Owner{Account: "cd"}}, now))

	must(t, db.UseMachineCredentials(ctx, map[string]time.Time{"three": now, "nobody": now}))
	must(t, db.UseMachineCredentials(ctx, map[string]time.Time{"three": now.Add(-time.Hour)}))
	must(t, db.RevokeMachineCredential(ctx, customhouse.RobotSecret, customhouse.Owner{Account: "ci"}, "two"))
	wantNotFound(t, "RevokeMachineCredential twice", db.RevokeMachineCredential(ctx, customhouse.RobotSecret, customhouse.Owner{Account: "ci"}, "two"))
	wantNotFound(t, "RevokeMachineCredential of another", db.RevokeMachineCredential(ctx, customhouse.RobotSecret, customhouse.Owner{Account: "cd"}, "three"))
	wantNotFound(t, "RevokeMachineCredential of another kind", db.RevokeMachineCredential(ctx, customhouse.PersonalToken, customhouse.Owner{Account: "ci"}, "three"))
	for _, c := range secretsOf(t, db, "ci") {
		if c.ID == "two" || c.ID == "three" && !c.Used.Equal(now) {
			t.Errorf("secret %+v, want it revoked or used at %v", c, now)
		}
	}
	must(t, db.DisableRobot(ctx, "ci", true))
	wantNotFound(t, "DisableRobot of nobody", db.DisableRobot(ctx, "cd", true))
	must(t, db.DisableRobot(ctx, "ci", false))
	// without its owner it is nobody's, and out
	must(t, db.DeleteAccount(ctx, "alice"))
	if all, err := db.Robots(ctx); err != nil || len(all) != 1 || !all[0].Disabled || all[0].Owner != (customhouse.Owner{}) {
		t.Errorf("Robots = %+v, %v, want ci disabled and nobody's", all, err)
	}
	must(t, db.RemoveRobot(ctx, "ci"))
	wantNotFound(t, "RemoveRobot twice", db.RemoveRobot(ctx, "ci"))
	if left := secretsOf(t, db, "ci"); len(left) != 0 {
		t.Errorf("%d secrets are left of a robot that was removed", len(left))
	}
}

func secretsOf(t *testing.T, db *index.DB, robot string) []customhouse.MachineCredential {
	t.Helper()
	all, err := db.MachineCredentials(t.Context(), customhouse.RobotSecret, robot)
	must(t, err)
	return all
}

// Tokens do not outlive the account that they are of, though another may get its name.
func TestS16_TokensEndWithTheirOwner(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	db, ctx := openAt(t, &now), t.Context()
	token := func(id, account, method string) customhouse.MachineCredential {
		return customhouse.MachineCredential{ID: id, Kind: customhouse.PersonalToken, Owner: customhouse.Owner{Account: account, Method: method}, Name: id, Created: now}
	}
	tokens := func(account string) int {
		t.Helper()
		all, err := db.MachineCredentials(ctx, customhouse.PersonalToken, account)
		must(t, err)
		return len(all)
	}
	must(t, db.PutAccount(ctx, customhouse.Account{Name: "alice"}))
	must(t, db.PutMachineCredential(ctx, token("a", "alice", "accounts"), 2))
	must(t, db.PutMachineCredential(ctx, token("b", "alice", "accounts"), 2))
	var full *customhouse.Error
	if err := db.PutMachineCredential(ctx, token("c", "alice", "accounts"), 2); !errors.As(err, &full) || full.Code != customhouse.Denied {
		t.Errorf("PutMachineCredential of a third = %v, want DENIED", err)
	}
	must(t, db.PutMachineCredential(ctx, token("d", "alice", "ldap"), 2))
	must(t, db.DeleteAccount(ctx, "alice"))
	if n := tokens("alice"); n != 1 {
		t.Errorf("%d tokens after the account is gone, want the one of ldap's alice", n)
	}
	s, err := db.PutSignIn(ctx, customhouse.SignIn{Provider: "github", Issuer: "i", Subject: "1", Account: "bob"}, true)
	must(t, err)
	must(t, db.PutMachineCredential(ctx, token("e", "bob", "github"), 2))
	s.Account = "robert"
	s, err = db.PutSignIn(ctx, s, true)
	must(t, err)
	if n := tokens("bob"); n != 0 {
		t.Errorf("%d tokens of a name that somebody else may get, want none", n)
	}
	must(t, db.PutMachineCredential(ctx, token("f", "robert", "github"), 2))
	s, err = db.PutSignIn(ctx, s, true) // who signs in again keeps theirs
	must(t, err)
	if n := tokens("robert"); n != 1 {
		t.Errorf("%d tokens after another sign-in, want 1", n)
	}
	owner := func() string {
		t.Helper()
		r, err := db.Robot(ctx, "ci")
		must(t, err)
		return fmt.Sprint(r.Owner, r.Disabled)
	}
	must(t, db.AddRobot(ctx, customhouse.Robot{Name: "ci", Owner: customhouse.Owner{Account: "robert", Method: "github"}}, customhouse.MachineCredential{
		ID: "g", Kind: customhouse.RobotSecret, Owner: customhouse.Owner{Account: "ci"}, Created: now,
	}))
	s.Account = "bob"
	s, err = db.PutSignIn(ctx, s, true) // whose robots go along
	must(t, err)
	if got := owner(); got != "{bob github} false" {
		t.Errorf("the owner of a robot is %s once they have another name, want bob", got)
	}
	s.Account = "robert"
	must(t, db.UpdateSignIn(ctx, s))
	must(t, db.PutMachineCredential(ctx, token("h", "robert", "github"), 2))
	must(t, db.DeleteSignIn(ctx, s.ID))
	if got := owner(); got != "{ } true" {
		t.Errorf("the owner of a robot is %s once they are gone, want nobody, and it disabled", got)
	}
	if n := tokens("robert"); n != 0 {
		t.Errorf("%d tokens of a sign-in that is gone, want none", n)
	}
}
