package attest

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
)

// witnesses gives the body of a witnesses.set.
func (c *cast) witnesses(t testing.TB, quorum int, names ...string) *WitnessesSetBody {
	t.Helper()
	b := &WitnessesSetBody{Quorum: quorum}
	for _, n := range names {
		b.Witnesses = append(b.Witnesses, WitnessBody{Name: n, Party: "agency", Key: c.witness(t, n).Public().Bytes()})
	}
	return b
}

// renewal gives the body of an identity.renewed: key is the new key, signer what vouches for it.
func renewal(t testing.TB, id sandbox.IdentityID, key, signer *sm.SigningKey) *IdentityRenewedBody {
	t.Helper()
	b := &IdentityRenewedBody{Identity: id, SignKey: key.Public().Bytes(), EncryptKey: key.Public().Bytes()}
	var err error
	if b.Proof, err = signer.Sign(rand.Reader, ContextRenewal, sm.Frame([]byte(id), b.SignKey, b.EncryptKey)); err != nil {
		t.Fatal(err)
	}
	return b
}

// Rules of identities, keys and witnesses: steps put behind one of the story, and what the verifier says; "" for accepted.
func TestRulesOfUpkeep(t *testing.T) {
	c := newCast(t)
	fresh := c.witness(t, "fresh key")
	c.keys["fresh"] = fresh
	revoke := func(actor, who sandbox.IdentityID) step {
		return step{kind: IdentityRevoked, actor: actor, body: &IdentityRevokedBody{Identity: who, Reason: "left"}}
	}
	renew := func(actor sandbox.IdentityID, b *IdentityRenewedBody) step {
		return step{kind: IdentityRenewed, actor: actor, body: b}
	}
	rotate := func(actor sandbox.IdentityID, to uint32, from ...uint32) step {
		return step{kind: KeyRotated, actor: actor, body: &KeyRotatedBody{Key: "kek-1", From: from, To: to, Rewrapped: 3}}
	}
	set := func(actor sandbox.IdentityID, b *WitnessesSetBody) step {
		return step{kind: WitnessesSet, actor: actor, body: b}
	}
	swapped := c.witnesses(t, 1, "a", "b")
	swapped.Witnesses[0].Key = c.witness(t, "c").Public().Bytes()
	moved := c.witnesses(t, 1, "a", "b")
	moved.Witnesses[0].Party = "operator"
	sameKey := c.witnesses(t, 1, "a", "b")
	sameKey.Witnesses[1].Key = sameKey.Witnesses[0].Key
	sameName := c.witnesses(t, 2, "a", "b")
	sameName.Witnesses[1].Name = "a"
	noKey := c.witnesses(t, 1, "a")
	noKey.Witnesses[0].Key = digest("k")
	relabelled := renewal(t, "op-officer", fresh, fresh)
	relabelled.Identity = "op-reviewer"
	exchanged := renewal(t, "op-officer", fresh, fresh)
	exchanged.EncryptKey = c.keys["agency-officer"].Public().Bytes()
	grant := "grant"
	for _, x := range []struct {
		name   string
		behind string // step of the story
		steps  []step
		then   func(t testing.TB, s []step) // a change of later steps
		want   string
	}{
		{"revoked by the agency", "export", []step{revoke("agency-officer", "op-reviewer")}, nil, ""},
		{"revoked by its own party", "export", []step{revoke("op-officer", "op-reviewer")}, nil, ""},
		{"revokes itself", "export", []step{revoke("op-reviewer", "op-reviewer")}, nil, ""},
		{"revoked by another party", "export", []step{revoke("med-officer", "op-reviewer")}, nil, "(identity.revoked): tampered: revocation: by the agency"},
		{"revoked by nobody", "export", []step{revoke("stranger", "op-reviewer")}, nil, "actor: an identity enrolled"},
		{"revoked by the domain", "export", []step{revoke(DomainActor, "op-reviewer")}, nil, "revocation: of an enrolled identity by an enrolled one"},
		{"a stranger revoked", "export", []step{revoke("agency-officer", "stranger")}, nil, "revocation: of an enrolled identity"},
		{"acts after revocation", grant, []step{revoke("agency-officer", "op-officer")}, nil, "actor: an identity that was not revoked"},
		{"votes after revocation", "check", []step{revoke("civil-officer", "civil-reviewer")}, nil, "(review.voted): tampered: actor"},
		{"renews after revocation", "export", []step{revoke("agency-officer", "op-officer"), renew("op-officer", renewal(t, "op-officer", fresh, fresh))}, nil, "actor: an identity that was not revoked"},
		{"renewed", "export", []step{renew("op-officer", renewal(t, "op-officer", fresh, fresh))}, nil, ""},
		{"signs with the new key", "file", []step{renew("op-officer", renewal(t, "op-officer", fresh, fresh))}, func(t testing.TB, s []step) {
			for i := range s {
				if s[i].context != "" && s[i].actor == "op-officer" {
					s[i].signer = "fresh"
				}
			}
		}, ""},
		{"signs with the old key", "file", []step{renew("op-officer", renewal(t, "op-officer", fresh, fresh))}, nil, "statement signature: under the key enrolled"},
		{"signs with the new key before", "export", []step{renew("op-officer", renewal(t, "op-officer", fresh, fresh))}, func(t testing.TB, s []step) {
			s[find(t, s, "operator decides")].signer = "fresh"
		}, "statement signature: under the key enrolled"},
		{"renewed by another", "export", []step{renew("agency-officer", renewal(t, "op-officer", fresh, fresh))}, nil, "renewal: by the identity itself"},
		{"renewed by the domain", "export", []step{renew(DomainActor, renewal(t, "op-officer", fresh, fresh))}, nil, "renewal: by the identity itself"},
		{"vouched for by the old key", "export", []step{renew("op-officer", renewal(t, "op-officer", fresh, c.keys["op-officer"]))}, nil, "renewal: by the identity itself, and by its new key"},
		{"vouched for another identity", "export", []step{renew("op-reviewer", relabelled)}, nil, "renewal: by the identity itself, and by its new key"},
		{"another encryption key", "export", []step{renew("op-officer", exchanged)}, nil, "renewal: by the identity itself, and by its new key"},
		{"renewed to no key", "export", []step{renew("op-officer", &IdentityRenewedBody{Identity: "op-officer", SignKey: digest("k")})}, nil, "renewal: by the identity itself"},
		{"rotated", "export", []step{rotate(DomainActor, 2, 1), rotate(DomainActor, 3, 1, 2)}, nil, ""},
		{"rotated by an operator", "export", []step{rotate("op-officer", 2, 1)}, nil, "keys: the domain rotates"},
		{"rotated to itself", "export", []step{rotate(DomainActor, 2, 1, 2)}, nil, "keys: the domain rotates"},
		{"rotated to nothing", "export", []step{rotate(DomainActor, 0, 1)}, nil, "keys: the domain rotates"},
		{"key erased", "export", []step{{kind: KeyErased, actor: DomainActor, body: &KeyErasedBody{Key: "key-1", Certificate: json.RawMessage(`{"driver":"file"}`)}}}, nil, ""},
		{"key erased by a stranger", "export", []step{{kind: KeyErased, actor: "stranger", body: &KeyErasedBody{Key: "key-1", Certificate: json.RawMessage(`{}`)}}}, nil, "actor:"},
		{"witnesses", "export", []step{set(DomainActor, c.witnesses(t, 1, "a", "b")), set(DomainActor, c.witnesses(t, 2, "c", "b", "a"))}, nil, ""},
		{"witnesses of an operator", "export", []step{set("op-officer", c.witnesses(t, 1, "a"))}, nil, "witnesses: set by the domain"},
		{"no quorum", "export", []step{set(DomainActor, c.witnesses(t, 0, "a"))}, nil, "witnesses: set by the domain"},
		{"quorum of more than there are", "export", []step{set(DomainActor, c.witnesses(t, 2, "a"))}, nil, "witnesses: set by the domain"},
		{"a witness twice", "export", []step{set(DomainActor, c.witnesses(t, 2, "a", "a"))}, nil, "witnesses: set by the domain"},
		{"two witnesses with one name", "export", []step{set(DomainActor, sameName)}, nil, "witnesses: set by the domain"},
		{"two witnesses with one key", "export", []step{set(DomainActor, sameKey)}, nil, "witnesses: set by the domain"},
		{"a witness without key", "export", []step{set(DomainActor, noKey)}, nil, "witnesses: set by the domain"},
		{"quorum lowered", "export", []step{set(DomainActor, c.witnesses(t, 2, "a", "b")), set(DomainActor, c.witnesses(t, 1, "a", "b"))}, nil, "witnesses: none is taken away"},
		{"a witness taken away", "export", []step{set(DomainActor, c.witnesses(t, 1, "a", "b")), set(DomainActor, c.witnesses(t, 1, "b", "c"))}, nil, "witnesses: none is taken away"},
		{"another key for a witness", "export", []step{set(DomainActor, c.witnesses(t, 1, "a", "b")), set(DomainActor, swapped)}, nil, "witnesses: none is taken away"},
		{"another party for a witness", "export", []step{set(DomainActor, c.witnesses(t, 1, "a", "b")), set(DomainActor, moved)}, nil, "witnesses: none is taken away"},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := c.story()
			at := find(t, s, x.behind)
			for i := range x.steps {
				x.steps[i].minute = s[at].minute
			}
			tail := slices.Clone(s[at+1:])
			if x.then != nil {
				x.then(t, s)
				tail = slices.Clone(s[at+1:])
			}
			s = slices.Concat(s[:at+1], x.steps, tail)
			r := c.play(t, s)
			rep, err := verify(bundle(t, r, everything))
			if x.want == "" && (err != nil || len(rep.NotChecked) > 0) {
				t.Errorf("%v, not checked: %v", err, rep.NotChecked)
			}
			if x.want != "" && (!errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), x.want)) {
				t.Errorf("want %q, got %v", x.want, err)
			}
		})
	}
}

// Hidden enrolments excuse no act of an identity whose revocation is in sight.
func TestRevocationOfAHiddenIdentity(t *testing.T) {
	c := newCast(t)
	s := c.story()
	s = append(s, step{kind: IdentityRevoked, actor: "agency-officer", body: &IdentityRevokedBody{Identity: "op-officer", Reason: "left"}, minute: 100},
		step{kind: BundleExported, actor: "op-officer", body: &BundleExportedBody{Audience: "auditor", Size: 1}, minute: 101})
	r := c.play(t, s)
	_, err := verify(bundle(t, r, func(e Event) bool { return e.Kind != PartyEnrolled }))
	if !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "an identity that was not revoked") {
		t.Error(err)
	}
	rep, err := verify(bundle(t, c.play(t, s[:len(s)-1]), func(e Event) bool { return e.Kind != PartyEnrolled }))
	if err != nil || rep.NotChecked["revocation"] != 1 {
		t.Errorf("%v, %v", rep.NotChecked, err)
	}
	rep, err = verify(bundle(t, c.play(t, append(c.story(), step{kind: IdentityRenewed, actor: "op-officer", body: renewal(t, "op-officer", c.domain, c.domain), minute: 100})),
		func(e Event) bool { return e.Kind != PartyEnrolled }))
	if err != nil || rep.NotChecked["renewal"] != 1 {
		t.Errorf("%v, %v", rep.NotChecked, err)
	}
}

// signed writes a checkpoint by its definition, under the domain's key.
func (c *cast) signed(t testing.TB, origin string, size uint64, root [sm.Size]byte) string {
	t.Helper()
	body := fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root[:]))
	id := sm.Sum(sm.Frame([]byte(origin), []byte("SM2"), c.domain.Public().Bytes()))
	sig, err := c.domain.Sign(rand.Reader, tlog.ContextCheckpoint, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	text := body + "\n— " + origin + " " + base64.StdEncoding.EncodeToString(append(id[:4:4], sig...)) + "\n"
	if err := mustCheckpoint(t, text).Verify(c.domain.Public()); err != nil {
		t.Fatal(err)
	}
	return text
}

// remade writes a bundle again with another note in its header, every check value and signature made new by the domain.
func (c *cast) remade(t testing.TB, b []byte, note string) []byte {
	t.Helper()
	lines := bytes.SplitAfter(b, []byte{'\n'})
	var h bundleHeader
	if err := json.Unmarshal(lines[0], &h); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var run chain
	h.Witnessed, h.Check = note, ""
	write := func(v any) {
		if err := writeLine(&out, v); err != nil {
			t.Fatal(err)
		}
	}
	h.Check, _ = run.next(h)
	write(h)
	for _, line := range lines[1 : len(lines)-2] {
		var e bundleEntry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		e.Check = ""
		e.Check, _ = run.next(e)
		write(e)
	}
	d := sm.Sum(out.Bytes())
	sig, err := c.domain.Sign(rand.Reader, ContextBundle, d[:])
	if err != nil {
		t.Fatal(err)
	}
	write(bundleEnd{sig})
	return out.Bytes()
}

func TestWitnessedBundle(t *testing.T) {
	c := newCast(t)
	s := append(c.story(), step{name: "witnesses", kind: WitnessesSet, actor: DomainActor, body: c.witnesses(t, 2, "agency", "unit", "operator"), minute: 60})
	r := c.play(t, s)
	plain := bundle(t, r, everything)
	rep, err := verify(plain)
	if err != nil || rep.Witnessed.Entries != 0 || rep.Witnessed.Needed != 2 || rep.Witnessed.Of != 3 || rep.Witnessed.Reached() || !strings.Contains(rep.Text(), "none 无 of 共 3") {
		t.Errorf("%+v, %v", rep.Witnessed, err)
	}
	if bytes.Contains(plain, []byte(`"witnessed"`)) {
		t.Error("a bundle without note names one")
	}
	half := c.cosign(t, r, "agency")
	rep, err = verify(bundle(t, r, everything))
	if err != nil || rep.Witnessed.Reached() || !slices.Equal(rep.Witnessed.Signed, []string{"agency"}) {
		t.Errorf("%+v, %v", rep.Witnessed, err)
	}
	note := c.cosign(t, r, "agency", "unit", "stranger")
	more(t, r, 3)
	whole := bundle(t, r, everything)
	rep, err = VerifyBundle(bytes.NewReader(whole), c.domain.Public())
	w := rep.Witnessed
	if err != nil || !w.Reached() || !slices.Equal(w.Signed, []string{"agency", "unit"}) || !slices.Equal(w.Unknown, []string{"stranger"}) || w.Entries != uint64(len(s)) ||
		rep.Entries != w.Entries+3 || !w.At.Equal(note.Cosignatures[1].Time) || rep.NotChecked["witnesses"] != 1 {
		t.Errorf("%+v, %v", w, err)
	}
	if text := rep.Text(); !strings.Contains(text, "agency, unit of 共 3, needed 需要 2") || !strings.Contains(text, "未核验: stranger") {
		t.Error(text)
	}
	// No witnesses.set in sight: nothing is passed off as checked.
	rep, err = verify(bundle(t, r, func(e Event) bool { return e.Kind != WitnessesSet }))
	if err != nil || rep.Witnessed.Reached() || len(rep.Witnessed.Signed) != 0 || len(rep.Witnessed.Unknown) != 3 || rep.Witnessed.Needed != 0 || rep.NotChecked["witnesses"] != 3 {
		t.Errorf("%+v, %v", rep.Witnessed, err)
	}
	if again := c.remade(t, whole, note.String()); !bytes.Equal(again[:bytes.IndexByte(again, '\n')], whole[:bytes.IndexByte(whole, '\n')]) {
		t.Fatal("a bundle made anew differs")
	}

	forged := note
	forged.Cosignatures = slices.Clone(note.Cosignatures)
	if forged.Cosignatures[1], err = note.Cosign("unit", c.witness(t, "stranger"), start, rand.Reader); err != nil {
		t.Fatal(err)
	}
	borrowed := tlog.Note{Checkpoint: mustCheckpoint(t, r.log.Checkpoint().String()), Cosignatures: note.Cosignatures}
	fork := c.cosign(t, c.play(t, c.story()), "agency", "unit")
	longer := c.play(t, s)
	more(t, longer, 4)
	larger := c.cosign(t, longer, "agency", "unit")
	same := c.play(t, s)
	more(t, same, 3)
	sameSize := c.cosign(t, same, "agency", "unit")
	stranger := newCast(t)
	foreign := stranger.cosign(t, stranger.play(t, stranger.story()), "agency")
	// What only the domain can sign: a twin log with the same entries, an empty tree with a root.
	twin := c.signed(t, "opdomain/twin", half.Size, half.Root)
	rootless := c.signed(t, "opdomain/test", 0, half.Root)
	for name, x := range map[string]struct{ note, want string }{
		"a twin's":                      {twin, "line 1: tampered: the witnessed checkpoint"},
		"root of nothing":               {rootless, "line 1: tampered: the witnessed checkpoint"},
		"good":                          {note.String(), ""},
		"an older one":                  {half.String(), ""},
		"forged co-signature":           {forged.String(), "witness unit: tampered: witnesses: the witness signed"},
		"co-signatures of another tree": {borrowed.String(), "witness agency: tampered"},
		"note of a fork":                {fork.String(), "entry 44: tampered: the entries do not give the root that witnesses"},
		"fork of the same size":         {sameSize.String(), "the entries do not give the root that witnesses"},
		"larger than the bundle":        {larger.String(), "line 1: tampered: the witnessed checkpoint"},
		"another log's":                 {foreign.String(), "line 1: tampered: the witnessed checkpoint"},
		"no note":                       {"note", "line 1: tampered: the witnessed checkpoint"},
		"line behind it":                {note.String() + "\n", "line 1: tampered: the witnessed checkpoint"},
	} {
		want := strings.Replace(x.want, "entry 44", entryName(fork.Size-1), 1)
		_, err := verify(c.remade(t, whole, x.note))
		if x.want == "" && err != nil || x.want != "" && (!errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: want %q, got %v", name, want, err)
		}
	}
	// An empty tree has one root.
	empty, err := tlog.Create(tlog.Config{Dir: t.TempDir(), Origin: "opdomain/test", Key: c.domain, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	if _, err := verify(c.remade(t, whole, empty.Checkpoint().String())); err != nil {
		t.Error(err)
	}
}

func TestChangedByteInAWitnessedBundle(t *testing.T) {
	c := newCast(t)
	r := c.play(t, []step{c.story()[0], {kind: WitnessesSet, actor: DomainActor, body: c.witnesses(t, 1, "agency"), minute: 1}})
	c.cosign(t, r, "agency", "unknown")
	b := bundle(t, r, everything)
	if _, err := verify(b); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		changed := bytes.Clone(b)
		changed[i] ^= 1
		if _, err := verify(changed); !errors.Is(err, sandbox.Tampered) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
}
