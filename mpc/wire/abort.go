package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/opdomain/opdomain/sandbox"
)

// Nobody is the peer of an Abort that no peer is known to have caused.
const Nobody = -1

// Abort (中止) is the one way in which a session ends without an output. Tampered: bytes that fail a check; Unavailable: a link that
// ended, or the deadline; Conflict: a call out of order on this side. It carries no data.
type Abort struct {
	Peer int          // over whose link, or Nobody; an ended link does not say who ended it
	Kind sandbox.Kind // of the failure
	Rule string       // what did not hold
	Err  error        // cause on this side, never sent
}

func (a *Abort) Error() string {
	at := ""
	if a.Peer != Nobody {
		at = fmt.Sprintf(": party %d", a.Peer)
	}
	return "mpc: abort" + at + ": " + string(a.Kind) + ": " + a.Rule
}

// Unwrap gives the cause, for the party's own log.
func (a *Abort) Unwrap() error { return a.Err }

// Is makes errors.Is match on the kind.
func (a *Abort) Is(target error) bool {
	k, ok := target.(sandbox.Kind)
	return ok && k == a.Kind
}

func tampered(peer int, rule string) *Abort {
	return &Abort{Peer: peer, Kind: sandbox.Tampered, Rule: rule}
}

// ended is the abort of a link whose transport failed.
func ended(peer int, err error) *Abort {
	rule := "the link ended"
	if n := net.Error(nil); errors.As(err, &n) && n.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) {
		rule = "nothing came by the deadline"
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // the end of a link is never the end of a protocol
	}
	return &Abort{Peer: peer, Kind: sandbox.Unavailable, Rule: rule, Err: err}
}
