package node

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm/pki"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/store"
)

// identities keeps what every request asks twice: who an identity is, and whether it was shut out. What it says changes in
// the moment a change of it is durable, and not later.
type identities struct {
	mu sync.RWMutex
	of map[sandbox.IdentityID]known
}

type known struct {
	identity sandbox.Identity
	party    sandbox.Party
	revoked  bool
}

// maxKnown bounds the identities kept in memory.
const maxKnown = 1 << 16

func (n *Node) known(ctx context.Context, id sandbox.IdentityID) (known, error) {
	n.who.mu.RLock()
	k, ok := n.who.of[id]
	n.who.mu.RUnlock()
	if ok {
		return k, nil
	}
	// Read under the lock: an answer that a change has overtaken must not be kept after it.
	n.who.mu.Lock()
	defer n.who.mu.Unlock()
	var err error
	if k.identity, _, err = n.docs.identities.Get(ctx, string(id)); err != nil {
		return known{}, err
	}
	if k.party, _, err = n.docs.parties.Get(ctx, string(k.identity.Party)); err != nil {
		return known{}, err
	}
	switch _, _, err = n.docs.revocations.Get(ctx, string(id)); {
	case err == nil:
		k.revoked = true
	case !errors.Is(err, sandbox.NotFound):
		return known{}, err
	}
	if len(n.who.of) >= maxKnown || n.who.of == nil {
		n.who.of = map[sandbox.IdentityID]known{}
	}
	n.who.of[id] = k
	return k, nil
}

func (n *Node) forgetIdentity(id sandbox.IdentityID) {
	n.who.mu.Lock()
	defer n.who.mu.Unlock()
	delete(n.who.of, id)
}

// Identity finds an enrolled identity and its party; Expired for one that was shut out. A domain that waits for its witnesses
// or was put back knows nobody.
func (n *Node) Identity(ctx context.Context, id sandbox.IdentityID) (sandbox.Identity, sandbox.Party, error) {
	if err := n.admitted(); err != nil {
		return sandbox.Identity{}, sandbox.Party{}, err
	}
	k, err := n.known(ctx, id)
	if err == nil && k.revoked {
		err = &sandbox.Error{Op: "identity", Kind: sandbox.Expired, Object: string(id), Detail: "the identity was revoked"}
	}
	return k.identity, k.party, err
}

// RevokeIdentity shuts an identity out from the next request on, and its certificates with it. The agency's last officer stays:
// nobody else could admit, decide or shut out, and nobody could make another.
func (n *Node) RevokeIdentity(ctx context.Context, c api.Caller, id sandbox.IdentityID, reason string) error {
	if l := utf8.RuneCountInString(reason); l == 0 || l > 200 || !utf8.ValidString(reason) {
		return &sandbox.Error{Op: "revoke", Kind: sandbox.Invalid, Object: string(id), Detail: "a reason of 1 to 200 characters"}
	}
	defer n.forgetIdentity(id)
	n.certifying.Lock()
	defer n.certifying.Unlock()
	return n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		who, _, err := n.docs.identities.Get(ctx, string(id))
		if err == nil && c.Party.Role != sandbox.Agency && who.Party != c.Party.ID {
			err = &sandbox.Error{Op: "revoke", Kind: sandbox.NotFound, Object: string(id)}
		}
		if err != nil {
			return err
		}
		p, _, err := n.docs.parties.Get(ctx, string(who.Party))
		if err != nil {
			return err
		}
		if err := n.officersLeft(ctx, p, id); err != nil {
			return err
		}
		fresh, err := n.docs.revocations.Once(ctx, string(id), string(who.Party), "revoked", api.Revocation{Identity: id, At: tx.at, Reason: reason, By: c.Identity.ID})
		if errors.Is(err, sandbox.Conflict) { // revoked before, for another reason: that one stands
			return nil
		}
		if err != nil || !fresh {
			return err
		}
		if err := n.revokePair(ctx, tx, id, pki.PrivilegeWithdrawn); err != nil {
			return err
		}
		tx.record(attest.IdentityRevoked, "identity/"+string(id), attest.IdentityRevokedBody{Identity: id, Reason: reason}, agency, publicOf(p))
		return nil
	})
}

// officersLeft refuses to shut out the agency's last officer.
func (n *Node) officersLeft(ctx context.Context, p sandbox.Party, id sandbox.IdentityID) error {
	if p.Role != sandbox.Agency {
		return nil
	}
	officers, err := n.docs.identities.List(ctx, store.Filter{Owner: string(p.ID), State: string(sandbox.Officer)})
	if err != nil {
		return err
	}
	last := false
	for _, o := range officers {
		if o.Value.ID == id {
			last = true
			continue
		}
		switch _, _, err := n.docs.revocations.Get(ctx, string(o.Value.ID)); {
		case errors.Is(err, sandbox.NotFound):
			return nil
		case err != nil:
			return err
		}
	}
	if last {
		return &sandbox.Error{Op: "revoke", Kind: sandbox.Conflict, Object: string(id), Detail: "the agency's last officer is not shut out: nobody could admit, decide or revoke after it",
			Hint: "if its keys are in wrong hands, give it new ones: opdomain identity renew"}
	}
	return nil
}

// RenewIdentity replaces the caller's keys and takes its certificates back; what was signed with the old ones stays provable by the evidence.
func (n *Node) RenewIdentity(ctx context.Context, c api.Caller, id sandbox.IdentityID, k api.KeyRenewal) error {
	if id != c.Identity.ID {
		return &sandbox.Error{Op: "renew", Kind: sandbox.Denied, Object: string(id), Detail: "an identity renews its own keys"}
	}
	if err := k.Verify(id); err != nil {
		return err
	}
	defer n.forgetIdentity(id)
	n.certifying.Lock()
	defer n.certifying.Unlock()
	return n.change(ctx, id, func(ctx context.Context, tx *change) error {
		who, rev, err := n.docs.identities.Get(ctx, string(id))
		if err != nil {
			return err
		}
		if !bytes.Equal(who.SignKey, c.Identity.SignKey) {
			return &sandbox.Error{Op: "renew", Kind: sandbox.Conflict, Object: string(id), Detail: "the keys were renewed meanwhile", Hint: "sign with the keys in force"}
		}
		if slices.ContainsFunc([][]byte{k.SignKey, k.EncryptKey}, func(key []byte) bool { return bytes.Equal(key, who.SignKey) || bytes.Equal(key, who.EncryptKey) }) {
			return &sandbox.Error{Op: "renew", Kind: sandbox.Invalid, Object: string(id), Detail: "new keys are new"}
		}
		who.SignKey, who.EncryptKey = k.SignKey, k.EncryptKey
		if _, err := n.docs.identities.Update(ctx, string(id), rev, string(who.Party), string(who.Duty), who); err != nil {
			return err
		}
		if err := n.revokePair(ctx, tx, id, pki.Superseded); err != nil { // its keys stood beside those given up
			return err
		}
		tx.record(attest.IdentityRenewed, "identity/"+string(id), attest.IdentityRenewedBody{Identity: id, SignKey: k.SignKey, EncryptKey: k.EncryptKey, Proof: k.Proof}, agency, publicOf(c.Party))
		return nil
	})
}
