package store

import (
	"context"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

// MaxNonce bounds a nonce in bytes.
const MaxNonce = 128

// Seen (防重放) records that identity used nonce in a request that is valid until expires. The second use is Unsigned, also
// after a restart. Entries past their expiry are pruned: a request that old is refused by its own times.
func (s *Store) Seen(ctx context.Context, identity sandbox.IdentityID, nonce string, expires, now time.Time) error {
	op := "store: nonce"
	bad := func(rule string) error {
		return &sandbox.Error{Op: op, Kind: sandbox.Unsigned, Object: string(identity), Detail: rule, Hint: "sign the request anew"}
	}
	if nonce == "" || len(nonce) > MaxNonce {
		return bad("a nonce has 1 to 128 bytes")
	}
	if !expires.After(now) {
		return bad("the request has expired")
	}
	return s.Tx(ctx, func(ctx context.Context) error {
		if _, err := s.exec(ctx, op, "", `DELETE FROM nonces WHERE expires < ?`, now.Unix()); err != nil {
			return err
		}
		n, err := s.exec(ctx, op, string(identity), `INSERT INTO nonces (identity, nonce, expires) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
			string(identity), nonce, expires.Unix())
		if err == nil && n == 0 {
			return bad("replayed: the nonce was used before")
		}
		return err
	})
}
