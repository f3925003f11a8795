package node

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// audienceName (存证受众) is a group for which events are sealed under a key of its own. What a party is shown of the log is
// decided by audience; what is sealed for whom is decided here, when the event is recorded:
//
//	auditors           every event
//	agency             every event but why a claim was refused, and refused claims themselves
//	everyone           who is in the domain, what is registered, keys and witnesses of the domain
//	party/<id>         events that concern one party: pushes and grades of a unit, invoices, exported bundles, usage
//	scenario/<id>      the parties of a scenario: filing, approvals, agreement, grant, questions, votes, releases
//	units/<id>         the units of a scenario: what the gate found, votes on and acts about what has not left
//
// Payloads are erased entry by entry; the entry's hash stays. Destroying an audience's key takes its view away.
type audienceName string

const (
	auditors = audienceName("auditors")
	agency   = audienceName(attest.BaseAudience)
	everyone = audienceName("everyone")
)

func toParty(id sandbox.PartyID) audienceName      { return audienceName("party/" + id) }
func partiesOf(id sandbox.ScenarioID) audienceName { return audienceName("scenario/" + id) }
func unitsOf(id sandbox.ScenarioID) audienceName   { return audienceName("units/" + id) }

// publicOf is who knows of a party: everyone, and of a person the person.
func publicOf(p sandbox.Party) audienceName {
	if p.Role == sandbox.Subject {
		return toParty(p.ID)
	}
	return everyone
}

// supervisors are who sees a claim's decision: of a refused one auditors only.
func supervisors(allowed bool) []audienceName {
	if allowed {
		return []audienceName{agency}
	}
	return nil
}

// partyOf gives the party of an identity.
func (n *Node) partyOf(ctx context.Context, id sandbox.IdentityID) (sandbox.PartyID, error) {
	k, err := n.known(ctx, id)
	return k.identity.Party, err
}

// names gives each audience once, the auditors first.
func names(to []audienceName) []string {
	out := []string{string(auditors)}
	for _, a := range to {
		if x := string(a); !slices.Contains(out, x) && a != toParty("") && a != partiesOf("") && a != unitsOf("") {
			out = append(out, x)
		}
	}
	return out
}

// audienceKeys gives the recorder the key of an audience: a secret of the key vault, made on first use and gone for good
// once destroyed.
type audienceKeys struct {
	vault  *keys.Vault
	domain string
}

// audienceSecret is the name of an audience's secret: audiences are longer than secrets' names may be.
func audienceSecret(audience string) string {
	d := sm.Sum([]byte("opdomain/audience/v1"), []byte(audience))
	return "audience-" + hex.EncodeToString(d[:12])
}

func (k audienceKeys) AudienceKey(audience string) ([]byte, error) {
	s, err := k.vault.Secret(audienceSecret(audience))
	if err != nil {
		return nil, err
	}
	b, err := s.Derive(sm.KeySize, "opdomain", k.domain, "audience", audience)
	if errors.Is(err, sandbox.Unavailable) { // destroyed in this process
		return nil, &sandbox.Error{Op: "evidence", Kind: sandbox.NotFound, Object: "audience", Detail: "the audience's key was destroyed", Err: err}
	}
	return b, err
}
