package keys

import (
	"bytes"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/secretsharing"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// MaxShares bounds the custodians of one set.
const MaxShares = 32

const (
	shareTitle    = "opdomain key share v1"
	shareScheme   = "feldman-p256-sm3"
	sealedShare   = "OPDOMAIN SEALED KEY SHARE"
	contextShare  = "opdomain/key-share/v1"
	pointLen      = 33
	maxShare      = 16 << 10
	maxShareLines = 10
)

// curve is the group shared over. The secret is a uniform scalar of it and the backup key HKDF-SM3 of that: two halves of
// a 256-bit key would need no hash, but their Feldman commitments would give them away in 2^64 steps.
var curve = group.P256

// Share (密钥分片) is one custodian's part of a backup key: any Threshold of Shares give the key, fewer give nothing. Its text is
// secret.
type Share struct {
	Domain      string
	Set         string // SM3 over scheme, domain, threshold, shares and commitments, hex: shares of one set belong together
	Threshold   int
	Shares      int
	Index       int      // from 1
	Commitments [][]byte // Feldman: to each coefficient, so that a share is checked alone
	value       []byte
}

// String keeps shares out of logs.
func (s Share) String() string { return fmt.Sprintf("key share %d(redacted)", s.Index) }

// Format keeps shares out of every verb.
func (s Share) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

func badShare(index int, kind sandbox.Kind, detail string) error {
	object := "share"
	if index > 0 {
		object += " " + strconv.Itoa(index)
	}
	return &sandbox.Error{Op: "keys: share", Kind: kind, Object: object, Detail: detail, Hint: "ask its custodian for the original"}
}

// deal draws a backup key and its shares.
func deal(domain string, t, n int, random io.Reader) ([]byte, []Share, error) {
	if err := sandbox.CheckID("domain", domain); err != nil {
		return nil, nil, err
	}
	if t < 2 || n < t || n > MaxShares {
		return nil, nil, &sandbox.Error{Op: "keys: share", Kind: sandbox.Invalid, Object: "threshold", Detail: fmt.Sprintf("a threshold from 2 to the number of shares, at most %d shares", MaxShares)}
	}
	secret, err := scalar(random)
	if err != nil {
		return nil, nil, err
	}
	// The library panics where randomness ends, so all it may ask for is drawn first.
	pool := make([]byte, t*256)
	defer clear(pool)
	if _, err := io.ReadFull(random, pool); err != nil {
		return nil, nil, &sandbox.Error{Op: "keys: share", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	s := secretsharing.New(bytes.NewReader(pool), uint(t-1), secret)
	var commitments [][]byte
	for _, c := range s.CommitSecret() {
		b, err := c.MarshalBinaryCompress()
		if err != nil || len(b) != pointLen { // a zero coefficient: once in 2^256
			return nil, nil, &sandbox.Error{Op: "keys: share", Kind: sandbox.Unavailable, Object: "randomness", Detail: "a coefficient of the sharing is zero"}
		}
		commitments = append(commitments, b)
	}
	var out []Share
	for i, x := range s.Share(uint(n)) {
		v, err := x.Value.MarshalBinary()
		if err != nil {
			return nil, nil, &sandbox.Error{Op: "keys: share", Kind: sandbox.Internal, Err: err}
		}
		y := Share{Domain: domain, Threshold: t, Shares: n, Index: i + 1, Commitments: commitments, value: v}
		y.Set = y.set()
		out = append(out, y)
	}
	key, err := backupKey(secret, out[0].Set)
	return key, out, err
}

func scalar(random io.Reader) (group.Scalar, error) {
	for range 128 {
		var b [32]byte
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return nil, &sandbox.Error{Op: "keys: share", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
		}
		s := curve.NewScalar()
		if s.UnmarshalBinary(b[:]) == nil && !s.IsZero() {
			return s, nil
		}
	}
	return nil, &sandbox.Error{Op: "keys: share", Kind: sandbox.Unavailable, Object: "randomness", Detail: "128 draws in a row were no scalar"}
}

func backupKey(secret group.Scalar, set string) ([]byte, error) {
	b, err := secret.MarshalBinary()
	if err != nil {
		return nil, &sandbox.Error{Op: "keys: share", Kind: sandbox.Internal, Err: err}
	}
	defer clear(b)
	return sm.HKDF(b, nil, sm.Frame([]byte("opdomain/backup/v1"), []byte(set)), keyLen)
}

func (s Share) set() string {
	parts := [][]byte{[]byte(shareScheme), []byte(s.Domain), fmt.Appendf(nil, "%d/%d", s.Threshold, s.Shares)}
	d := sm.Sum(sm.Frame(append(parts, s.Commitments...)...))
	return hex.EncodeToString(d[:])
}

// Text is the file a custodian is given.
func (s Share) Text() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nscheme: %s\ndomain: %s\nset: %s\nthreshold: %d\nshares: %d\nindex: %d\ncommitments:", shareTitle, shareScheme, s.Domain, s.Set, s.Threshold, s.Shares, s.Index)
	for _, c := range s.Commitments {
		b.WriteString(" " + hex.EncodeToString(c))
	}
	fmt.Fprintf(&b, "\nvalue: %x\n", s.value)
	c := sm.Sum([]byte(b.String()))
	fmt.Fprintf(&b, "check: %x\n", c)
	return []byte(b.String())
}

// ParseShare reads a share's text in its one form and checks it against its own commitments: Tampered, naming the share,
// for one that was changed.
func ParseShare(text []byte) (Share, error) {
	var s Share
	if len(text) > maxShare {
		return s, badShare(0, sandbox.TooLarge, "a share has at most 16 KiB")
	}
	lines := strings.SplitN(string(text), "\n", maxShareLines+2)
	if len(lines) != maxShareLines+1 || lines[maxShareLines] != "" || lines[0] != shareTitle {
		return s, badShare(0, sandbox.Invalid, "not a key share of this version; a sealed one is opened first")
	}
	var f [maxShareLines - 1]string
	for i, name := range []string{"scheme", "domain", "set", "threshold", "shares", "index", "commitments", "value", "check"} {
		rest, ok := strings.CutPrefix(lines[i+1], name+": ")
		if !ok {
			return s, badShare(0, sandbox.Invalid, "line "+strconv.Itoa(i+2)+" is not its "+name)
		}
		f[i] = rest
	}
	if f[0] != shareScheme {
		return s, badShare(0, sandbox.Invalid, "an unknown scheme")
	}
	s.Domain, s.Set = f[1], f[2]
	for i, p := range []*int{&s.Threshold, &s.Shares, &s.Index} {
		n, err := strconv.Atoi(f[3+i])
		if err != nil || n < 1 || n > MaxShares {
			return Share{}, badShare(0, sandbox.Tampered, "threshold, shares and index are numbers from 1")
		}
		*p = n
	}
	changed := badShare(s.Index, sandbox.Tampered, "the share was changed")
	for c := range strings.SplitSeq(f[6], " ") {
		b, err := hex.DecodeString(c)
		if err != nil || len(b) != pointLen || len(s.Commitments) == MaxShares {
			return Share{}, changed
		}
		s.Commitments = append(s.Commitments, b)
	}
	var err error
	if s.value, err = hex.DecodeString(f[7]); err != nil || len(s.value) != 32 || !bytes.Equal(s.Text(), text) {
		return Share{}, changed
	}
	if sandbox.CheckID("domain", s.Domain) != nil || s.Threshold < 2 || s.Index > s.Shares || s.Threshold > s.Shares || len(s.Commitments) != s.Threshold || s.Set != s.set() {
		return Share{}, changed
	}
	if !s.consistent() {
		return Share{}, badShare(s.Index, sandbox.Tampered, "the share does not fit its commitments")
	}
	return s, nil
}

// share gives the library's form.
func (s Share) share() (secretsharing.Share, bool) {
	v := curve.NewScalar()
	if v.UnmarshalBinary(s.value) != nil {
		return secretsharing.Share{}, false
	}
	return secretsharing.Share{ID: curve.NewScalar().SetUint64(uint64(s.Index)), Value: v}, true
}

// consistent is Feldman's check.
func (s Share) consistent() bool {
	x, ok := s.share()
	var c secretsharing.SecretCommitment
	for _, b := range s.Commitments {
		e := curve.NewElement()
		if e.UnmarshalBinary(b) != nil {
			return false
		}
		c = append(c, e)
	}
	return ok && secretsharing.Verify(uint(s.Threshold-1), x, c)
}

// combine gives the backup key of at least a threshold of shares of one set.
func combine(shares []Share) ([]byte, error) {
	if len(shares) == 0 {
		return nil, badShare(0, sandbox.Invalid, "no share was given")
	}
	first := shares[0]
	var xs []secretsharing.Share
	var seen []int
	for _, s := range shares {
		if s.Set != first.Set || s.Set != s.set() {
			return nil, &sandbox.Error{Op: "keys: share", Kind: sandbox.Conflict, Object: fmt.Sprintf("share %d", s.Index), Detail: "it is of another set than the first", Hint: "bring shares that name one set"}
		}
		if !s.consistent() {
			return nil, badShare(s.Index, sandbox.Tampered, "the share does not fit its commitments")
		}
		if slices.Contains(seen, s.Index) {
			continue // the library would panic, and a share twice is one share
		}
		x, _ := s.share()
		seen, xs = append(seen, s.Index), append(xs, x)
	}
	if len(xs) < first.Threshold {
		return nil, &sandbox.Error{Op: "keys: share", Kind: sandbox.Invalid, Object: "shares", Detail: fmt.Sprintf("%d different shares of the %d that are needed", len(xs), first.Threshold),
			Hint: "bring more custodians"}
	}
	secret, err := secretsharing.Recover(uint(first.Threshold-1), xs)
	if err != nil {
		return nil, &sandbox.Error{Op: "keys: share", Kind: sandbox.Internal, Err: err}
	}
	return backupKey(secret, first.Set)
}

// Seal seals a share's text to its custodian's encryption key, as PEM.
func (s Share) Seal(random io.Reader, custodian *sm.EncryptKey) ([]byte, error) {
	box, err := custodian.SealMessage(random, contextShare, s.Text())
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: sealedShare, Headers: map[string]string{"To": custodian.Fingerprint(), "Set": s.Set, "Index": strconv.Itoa(s.Index)}, Bytes: box}), nil
}

// OpenShare opens what Seal made. Denied for a share sealed to another key.
func OpenShare(text []byte, k *sm.DecryptKey) (Share, error) {
	if len(text) > 4*maxShare {
		return Share{}, badShare(0, sandbox.TooLarge, "a sealed share has at most 64 KiB")
	}
	b, rest := pem.Decode(text)
	if b == nil || b.Type != sealedShare || len(bytes.TrimSpace(rest)) > 0 {
		return Share{}, badShare(0, sandbox.Invalid, "not a sealed key share")
	}
	if b.Headers["To"] != k.Public().Fingerprint() {
		return Share{}, &sandbox.Error{Op: "keys: share", Kind: sandbox.Denied, Object: "share", Detail: "it is sealed to another custodian's key"}
	}
	plain, err := k.OpenMessage(contextShare, b.Bytes)
	if err != nil {
		return Share{}, badShare(0, sandbox.Tampered, "the sealed share was changed")
	}
	defer clear(plain)
	return ParseShare(plain)
}
