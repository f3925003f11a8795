// Package second is a second, independent verifier of evidence bundles (存证包独立核验), for tests only: package attest's own is held
// to it. It shares with that one the primitives of attest/sm and nothing else: it walks JSON by tokens, finds the Merkle
// root by the recursive definition of RFC 6962 section 2.1, and reads signed notes itself.
//
// It checks structure, check values, salted entries (HMAC-SM3), the root, checkpoint and bundle signature, the signature
// of every event in sight, the witnessed note and the co-signatures of the witnesses of the last witnesses.set in sight. It
// holds the whole bundle in memory. Errors are plain texts naming the line. Not here: the rules between events, bodies of
// events, the canonical form of an event inside its line, bounds.
package second

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/opdomain/opdomain/attest/sm"
)

const (
	contextCheckpoint  = "opdomain/checkpoint/v1"
	contextCosignature = "opdomain/cosignature/v1"
	contextEvent       = "opdomain/event/v1"
	contextBundle      = "opdomain/bundle/v1"
)

// member is one name of an object with its value, exactly as it stands.
type member struct {
	name string
	raw  string
}

// object walks the top level of one JSON object.
func object(text string) ([]member, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	t, err := dec.Token()
	if err != nil || t != json.Delim('{') {
		return nil, errors.New("no object")
	}
	var out []member
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		// The value is walked to its end and cut out of the text.
		from := int(dec.InputOffset())
		depth := 0
		for {
			t, err := dec.Token()
			if err != nil {
				return nil, err
			}
			switch t {
			case json.Delim('{'), json.Delim('['):
				depth++
			case json.Delim('}'), json.Delim(']'):
				depth--
			}
			if depth == 0 {
				break
			}
		}
		raw, ok := strings.CutPrefix(text[from:dec.InputOffset()], ":")
		s, isText := name.(string)
		if !ok || !isText {
			return nil, errors.New("a space before a value")
		}
		out = append(out, member{s, raw})
	}
	if t, err := dec.Token(); err != nil || t != json.Delim('}') {
		return nil, errors.New("an object without end")
	}
	if rest := text[dec.InputOffset():]; rest != "" {
		return nil, errors.New("something behind the object")
	}
	return out, nil
}

// fields gives the values of an object whose names are those of order, in order; names with a '?' may be left out.
func fields(text string, order ...string) (map[string]string, error) {
	all, err := object(text)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	var again strings.Builder
	next := 0
	for n, m := range all {
		for next < len(order) && strings.TrimSuffix(order[next], "?") != m.name {
			if !strings.HasSuffix(order[next], "?") {
				return nil, fmt.Errorf("no %s", order[next])
			}
			next++
		}
		if next == len(order) {
			return nil, errors.New("a field too many")
		}
		next++
		out[m.name] = m.raw
		again.WriteString(map[bool]string{true: "{", false: ","}[n == 0] + `"` + m.name + `":` + m.raw)
	}
	for ; next < len(order); next++ {
		if !strings.HasSuffix(order[next], "?") {
			return nil, fmt.Errorf("no %s", order[next])
		}
	}
	if again.String()+"}" != text {
		return nil, errors.New("another encoding of the object")
	}
	return out, nil
}

// text reads a string in its one encoding.
func text(raw string) (string, error) {
	var s string
	if err := json.Unmarshal([]byte(raw), &s); err != nil {
		return "", err
	}
	if again, err := json.Marshal(s); err != nil || string(again) != raw {
		return "", errors.New("another encoding of a string")
	}
	return s, nil
}

// octets reads base64 in its one encoding.
func octets(raw string) ([]byte, error) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' || strings.ContainsAny(raw, "\r\n") {
		return nil, errors.New("no base64")
	}
	return base64.StdEncoding.Strict().DecodeString(raw[1 : len(raw)-1])
}

func number(raw string) (uint64, error) {
	n, err := strconv.ParseUint(raw, 10, 64)
	if err == nil && strconv.FormatUint(n, 10) != raw {
		err = errors.New("another encoding of a number")
	}
	return n, err
}

// root is MTH of RFC 6962 section 2.1 with SM3.
func root(entries [][]byte) [sm.Size]byte {
	switch len(entries) {
	case 0:
		return sm.Sum()
	case 1:
		return sm.Sum([]byte{0}, entries[0])
	}
	k := 1
	for k*2 < len(entries) {
		k *= 2
	}
	l, r := root(entries[:k]), root(entries[k:])
	return sm.Sum([]byte{1}, l[:], r[:])
}

// note is a signed note: three lines, an empty one, one line for each signature.
type note struct {
	origin string
	size   uint64
	root   []byte
	body   string
	signed [][2]string // name, base64
}

func parseNote(s string) (note, error) {
	var n note
	body, signatures, ok := strings.Cut(s, "\n\n")
	lines := strings.Split(body, "\n")
	if !ok || len(lines) != 3 || !strings.HasSuffix(signatures, "\n") {
		return n, errors.New("no note")
	}
	var err error
	n.origin, n.body = lines[0], body+"\n"
	if n.size, err = number(lines[1]); err != nil {
		return n, err
	}
	if n.root, err = octets(`"` + lines[2] + `"`); err != nil || len(n.root) != sm.Size {
		return n, errors.New("no root")
	}
	seen := map[string]bool{}
	for i, line := range strings.Split(strings.TrimSuffix(signatures, "\n"), "\n") {
		part := strings.Split(line, " ")
		if len(part) != 3 || part[0] != "—" || part[1] == "" || i > 0 && seen[part[1]] {
			return n, errors.New("no signature line")
		}
		seen[part[1]] = i > 0
		n.signed = append(n.signed, [2]string{part[1], part[2]})
	}
	return n, nil
}

// signature gives the bytes of a signature line whose key hash is that of name, kind and key.
func signature(line [2]string, kind string, key *sm.VerifyKey) ([]byte, error) {
	b, err := octets(`"` + line[1] + `"`)
	if err != nil || len(b) < 4 {
		return nil, errors.New("no signature")
	}
	id := sm.Sum(sm.Frame([]byte(line[0]), []byte(kind), key.Bytes()))
	if !bytes.Equal(b[:4], id[:4]) {
		return nil, errors.New("signed by another key")
	}
	return b[4:], nil
}

// bySigner checks the log's own signature.
func (n note) bySigner(key *sm.VerifyKey) error {
	if n.signed[0][0] != n.origin {
		return errors.New("signed in another name")
	}
	sig, err := signature(n.signed[0], "SM2", key)
	if err != nil {
		return err
	}
	return key.Verify(contextCheckpoint, []byte(n.body), sig)
}

// byWitness checks one co-signature.
func (n note) byWitness(line [2]string, key *sm.VerifyKey) error {
	b, err := signature(line, "cosignature/v1 SM2", key)
	if err != nil || len(b) < 8 {
		return errors.New("no co-signature")
	}
	msg := "cosignature/v1\ntime " + strconv.FormatUint(binary.BigEndian.Uint64(b), 10) + "\n" + n.body
	return key.Verify(contextCosignature, []byte(msg), b[8:])
}

// Bundle verifies one bundle. pin may be nil: the key is then the bundle's own.
func Bundle(in []byte, pin *sm.VerifyKey) error {
	b := bundle{pin: pin}
	lines := strings.SplitAfter(string(in), "\n")
	if len(lines) < 3 || lines[len(lines)-1] != "" {
		return errors.New("a header, entries and a signature, each ending in a line feed")
	}
	lines = lines[:len(lines)-1]
	for i, line := range lines {
		var err error
		switch line = strings.TrimSuffix(line, "\n"); i {
		case 0:
			err = b.header(line)
		case len(lines) - 1:
			err = b.end(line, in[:len(in)-len(line)-1])
		default:
			err = b.entry(uint64(i-1), line)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return nil
}

type bundle struct {
	pin        *sm.VerifyKey
	key        *sm.VerifyKey
	run        [sm.Size]byte
	checkpoint note
	witnessed  *note
	entries    [][]byte
	witnesses  []member // name, base64 of the key in quotes
}

// checked takes a line's check value off its end and holds it to the chain.
func (b *bundle) checked(line, value string) error {
	check, err := text(value)
	cut, ok := strings.CutSuffix(line, `,"check":`+value+"}")
	if err != nil || !ok {
		return errors.New("no check value at the end")
	}
	b.run = sm.Sum(b.run[:], []byte(cut+"}"))
	if hex.EncodeToString(b.run[:8]) != check {
		return errors.New("another check value")
	}
	return nil
}

func (b *bundle) header(line string) error {
	f, err := fields(line, "format", "domain", "audience", "origin", "sign_key", "checkpoint", "size", "witnessed?", "check")
	if err != nil {
		return err
	}
	if err := b.checked(line, f["check"]); err != nil {
		return err
	}
	s := map[string]string{}
	for _, name := range []string{"format", "domain", "audience", "origin", "checkpoint"} {
		if s[name], err = text(f[name]); err != nil {
			return err
		}
	}
	point, err := octets(f["sign_key"])
	if err != nil {
		return err
	}
	if b.key, err = sm.ParseVerifyKey(point); err != nil {
		return err
	}
	if b.pin != nil && !bytes.Equal(b.pin.Bytes(), point) {
		return errors.New("another key")
	}
	size, err := number(f["size"])
	if err != nil {
		return err
	}
	if b.checkpoint, err = parseNote(s["checkpoint"]); err != nil {
		return err
	}
	if err := b.checkpoint.bySigner(b.key); err != nil {
		return err
	}
	if len(b.checkpoint.signed) != 1 || b.checkpoint.size != size || b.checkpoint.origin != s["origin"] || s["origin"] != "opdomain/"+s["domain"] || s["format"] != "opdomain-bundle/1" {
		return errors.New("header and checkpoint differ")
	}
	if raw, ok := f["witnessed"]; ok {
		t, err := text(raw)
		if err != nil {
			return err
		}
		n, err := parseNote(t)
		if err == nil {
			err = n.bySigner(b.key)
		}
		if err != nil || n.origin != b.checkpoint.origin || n.size > size {
			return errors.New("the witnessed note is not of this log")
		}
		b.witnessed = &n
	}
	return nil
}

func (b *bundle) entry(i uint64, line string) error {
	f, err := fields(line, "i", "entry", "erased?", "salt?", "event?", "check")
	if err != nil {
		return err
	}
	if err := b.checked(line, f["check"]); err != nil {
		return err
	}
	n, err := number(f["i"])
	if err != nil || n != i {
		return errors.New("out of order")
	}
	entry, err := octets(f["entry"])
	if err != nil || len(entry) != sm.Size {
		return errors.New("no entry hash")
	}
	b.entries = append(b.entries, entry)
	event, visible := f["event"]
	salt, salted := f["salt"]
	erased, marked := f["erased"]
	if visible != salted || marked && (visible || erased != "true") {
		return errors.New("salt and event together, or neither")
	}
	if !visible {
		return nil
	}
	key, err := octets(salt)
	if err != nil || len(key) != 32 {
		return errors.New("no salt")
	}
	if want := sm.HMAC(key, []byte(event)); !bytes.Equal(want[:], entry) {
		return errors.New("the entry hides another event")
	}
	return b.event(event)
}

// event checks an event's signature: over the event without it.
func (b *bundle) event(event string) error {
	f, err := fields(event, "kind", "at", "actor", "object", "body", "signature")
	if err != nil {
		return err
	}
	unsigned, ok := strings.CutSuffix(event, `,"signature":`+f["signature"]+"}")
	sig, err := octets(f["signature"])
	if err != nil || !ok {
		return errors.New("no event signature")
	}
	if err := b.key.Verify(contextEvent, []byte(unsigned+"}"), sig); err != nil {
		return err
	}
	if f["kind"] == `"witnesses.set"` {
		return b.setWitnesses(f["body"])
	}
	return nil
}

// setWitnesses reads who the witnesses are from now on.
func (b *bundle) setWitnesses(body string) error {
	f, err := fields(body, "quorum", "witnesses")
	if err != nil {
		return err
	}
	b.witnesses = nil
	dec := json.NewDecoder(strings.NewReader(f["witnesses"]))
	var name string
	for {
		t, err := dec.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		field, ok := t.(string)
		if !ok {
			continue
		}
		value, err := dec.Token()
		if err != nil {
			return err
		}
		s, _ := value.(string)
		switch field {
		case "name":
			name = s
		case "key":
			b.witnesses = append(b.witnesses, member{name, `"` + s + `"`})
		}
	}
}

func (b *bundle) end(line string, before []byte) error {
	f, err := fields(line, "signature")
	if err != nil {
		return err
	}
	sig, err := octets(f["signature"])
	if err != nil {
		return err
	}
	d := sm.Sum(before)
	if err := b.key.Verify(contextBundle, d[:], sig); err != nil {
		return err
	}
	if got := root(b.entries); uint64(len(b.entries)) != b.checkpoint.size || !bytes.Equal(got[:], b.checkpoint.root) {
		return errors.New("the entries do not give the root")
	}
	n := b.witnessed
	if n == nil {
		return nil
	}
	if got := root(b.entries[:n.size]); !bytes.Equal(got[:], n.root) {
		return errors.New("the entries do not give the witnessed root")
	}
	for _, line := range n.signed[1:] {
		for _, w := range b.witnesses {
			if w.name != line[0] {
				continue
			}
			point, err := octets(w.raw)
			if err != nil {
				return err
			}
			key, err := sm.ParseVerifyKey(point)
			if err == nil {
				err = n.byWitness(line, key)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
