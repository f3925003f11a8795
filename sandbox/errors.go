package sandbox

import (
	"errors"
	"strings"
)

// Kind (错误类别) classifies an Error. It maps to an HTTP status, a metric label and a hint.
type Kind string

// The kinds; each is itself an error so that errors.Is(err, sandbox.NotFound) works.
const (
	Invalid     Kind = "invalid"     // 400: the input breaks a stated rule
	Unsigned    Kind = "unsigned"    // 401: no valid signature, or replayed
	Denied      Kind = "denied"      // 403: the role or policy does not allow it
	NotFound    Kind = "not found"   // 404
	Conflict    Kind = "conflict"    // 409: state changed, duplicate, out of order
	Expired     Kind = "expired"     // 410: past its term
	TooLarge    Kind = "too large"   // 413: over a configured bound
	Tampered    Kind = "tampered"    // 422: stored or sent bytes fail authentication
	Passphrase  Kind = "passphrase"  // the passphrase does not open the key file
	Unavailable Kind = "unavailable" // 503: a layer that must be there is not; fails closed
	Internal    Kind = "internal"    // 500
	Withheld    Kind = "withheld"    // 409: data-dependent refusal, one uniform code, no detail to the asker
)

func (k Kind) Error() string { return string(k) }

// Error (错误) carries operation, kind and object. Detail names the place and the rule, never a value, key, name or
// identifier of a person. It prints in lower case: "vault: open ds-claims: tampered: chunk 3 fails authentication".
type Error struct {
	Op     string // package or verb: "vault: open"
	Kind   Kind
	Object string // what it was done to: a typed ID, a file and line, a column
	Detail string // the rule that was broken
	Hint   string // what the caller should do, printed after "hint:"
	Err    error  // cause
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Object != "" {
		b.WriteString(" " + e.Object)
	}
	b.WriteString(": " + string(e.Kind))
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is match on the kind.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k == e.Kind
}

// KindOf gives the kind of the outermost Error in err, or Internal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	return Internal
}
