package store

import (
	"context"
	"crypto/hmac"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Counter (计数) gives the value of a named counter; 0 for one never added to.
func (s *Store) Counter(ctx context.Context, name string) (int64, error) {
	op := "store: counter"
	var value int64
	var mac []byte
	err := s.on(ctx).QueryRowContext(ctx, `SELECT value, mac FROM counters WHERE name = ?`, name).Scan(&value, &mac)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, failed(op, name, err)
	}
	if !hmac.Equal(mac, s.tag(name, value)) {
		return 0, &sandbox.Error{Op: op, Kind: sandbox.Tampered, Object: "counters " + name, Detail: "the row fails authentication"}
	}
	return value, nil
}

// Add adds delta to a named counter in one step and gives its new value. TooLarge, with the value unchanged, when it
// would pass max: a budget of released bits or of a consent's uses is spent once, also by two requests at the same moment.
func (s *Store) Add(ctx context.Context, name string, delta, max int64) (value int64, err error) {
	op := "store: add"
	if name == "" || len(name) > 200 {
		return 0, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: "counter", Detail: "a counter's name has 1 to 200 bytes"}
	}
	err = s.Tx(ctx, func(ctx context.Context) error {
		if value, err = s.Counter(ctx, name); err != nil {
			return err
		}
		// value is within [0, MaxInt64], so a sum that wraps is below zero
		next := value + delta
		if delta > 0 && next < value || next > max {
			return &sandbox.Error{Op: op, Kind: sandbox.TooLarge, Object: name, Detail: fmt.Sprintf("would pass its bound of %d", max)}
		}
		if next < 0 {
			return &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: name, Detail: "a counter does not fall below zero"}
		}
		_, err := s.exec(ctx, op, name, `INSERT INTO counters (name, value, mac) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value, mac = excluded.mac`,
			name, next, s.tag(name, next))
		if err == nil {
			value = next
		}
		return err
	})
	return value, err
}

func (s *Store) tag(name string, value int64) []byte {
	t := sm.HMAC(s.mac, sm.Frame([]byte(name), binary.BigEndian.AppendUint64(nil, uint64(value))))
	return t[:]
}
