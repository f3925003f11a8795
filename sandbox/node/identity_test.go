package node

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
)

// TestTheAgencysLastOfficerStays: of two officers either may shut the other out, the last one nobody; reviewers and the officers of
// other parties go as before.
func TestTheAgencysLastOfficerStays(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	agency, second, reviewer, unit := enrolled(t, "agency", sandbox.Agency), enrolled(t, "agency-2", sandbox.Agency), enrolled(t, "agency-reviewer", sandbox.Agency), enrolled(t, "unit", sandbox.Unit)
	second.Identities[0].Party, reviewer.Identities[0].Party = "agency", "agency"
	reviewer.Identities[0].Duty = sandbox.Reviewer
	agency.Identities = append(agency.Identities, second.Identities[0], reviewer.Identities[0])
	n, _ := newNodeOf(t, dir, agency, unit)
	by := func(i int) api.Caller { return api.Caller{Identity: agency.Identities[i], Party: agency.Party} }
	refused := func(c api.Caller, id sandbox.IdentityID) {
		t.Helper()
		var e *sandbox.Error
		if err := n.RevokeIdentity(ctx, c, id, "left"); !errors.As(err, &e) || e.Kind != sandbox.Conflict || e.Hint == "" {
			t.Errorf("%s: %v", id, err)
		}
		if _, _, err := n.Identity(ctx, id); err != nil {
			t.Errorf("%s is shut out: %v", id, err)
		}
	}
	revoked := func(c api.Caller, id sandbox.IdentityID) {
		t.Helper()
		if err := n.RevokeIdentity(ctx, c, id, "left"); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		if _, _, err := n.Identity(ctx, id); !errors.Is(err, sandbox.Expired) {
			t.Errorf("%s is not shut out: %v", id, err)
		}
	}
	revoked(by(0), "unit")
	revoked(by(0), "agency")
	refused(by(1), "agency-2")
	revoked(by(1), "agency-reviewer")
	revoked(by(1), "agency") // again: what was done stands
	refused(by(1), "agency-2")
	closed(t, n)
	n = reopen(t, dir)
	refused(by(1), "agency-2")
	if got := kinds(t, n, attest.IdentityRevoked); got != 3 {
		t.Errorf("%d revocations in the evidence", got)
	}
	closed(t, n)
}
