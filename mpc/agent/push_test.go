package agent

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
)

// pushing is a trio with a unit that pushes its claims.
type pushing struct {
	*trio
	q      agg.Inquiry
	cards  []string
	digest string
}

func newPushing(t *testing.T) *pushing {
	o := &pushing{trio: newTrio(t), q: asked()}
	o.keys("other")
	o.q.Setting.Held = []agg.Held{{Dataset: "ds-claims", Rows: 1024, Pushed: true, Unit: o.keys("unit")}, {Dataset: "ds-persons", Party: 1, Rows: 1024}}
	if x := o.explained(o.q); len(x.Pushed) != 1 || len(x.Inputs) != 1 {
		t.Fatalf("%d pushed, %d inputs", len(x.Pushed), len(x.Inputs))
	}
	o.planned()
	text, err := os.ReadFile(o.at("plan.json"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := mpc.ParsePlan(text)
	if err != nil {
		t.Fatal(err)
	}
	d := p.Digest()
	o.digest = hex.EncodeToString(d[:])
	for _, p := range o.plan.Parties {
		o.do(0, "card", "--keys", o.at("party"+p.Role), "--passphrase-file", o.pass, "--party", string(p.ID), "--out", o.at("card"+p.Role))
		o.cards = append(o.cards, "--card", o.at("card"+p.Role))
	}
	first, second, _ := tables()
	o.write("claims.csv", claimsHead+first+second)
	o.write("units-key", strings.Repeat("5a", 32))
	return o
}

func (o *pushing) push(status int, folder, dir string, cards ...string) string {
	o.t.Helper()
	if err := os.MkdirAll(o.at(dir), 0o700); err != nil {
		o.t.Fatal(err)
	}
	return o.do(status, append([]string{"push", "--keys", o.at(folder), "--passphrase-file", o.pass, "--plan", o.at("plan.json"), "--question", o.at("question.json"),
		"--source", "ds-claims=" + o.at("claims.csv"), "--subject-key", o.at("subject"), "--out", o.at(dir), "--digest", o.digest,
		"--ledger", o.at("units-ledger"), "--ledger-key", o.at("units-key")}, cards...)...)
}

// TestPushesDiffer: a unit that signed two pushes and gave the parties one of each is found when they compare their copies: all end, and none has
// an answer.
func TestPushesDiffer(t *testing.T) {
	o := newPushing(t)
	_, _, persons := tables()
	o.push(0, "unit", "one", o.cards...)
	o.push(0, "unit", "two", o.cards...)
	o.runs(1, [3][]string{{"--pushed", o.at("one/ds-claims.p0")}, {"--source", "ds-persons=" + o.write("persons.csv", personsHead+persons), "--pushed", o.at("two/ds-claims.p1")}, {"--pushed", o.at("one/ds-claims.p2")}})
	for _, p := range o.plan.Parties {
		for _, file := range []string{"out", "certificate"} {
			if _, err := os.Stat(o.at(file + p.Role)); err == nil {
				t.Errorf("%s has its %s", p.ID, file)
			}
		}
	}
}

// TestPushesCompared: a unit pushes under a ledger of its own; rows that differ from an earlier push's in one person are not pushed, the same ones are, and
// nothing is written of what is refused.
func TestPushesCompared(t *testing.T) {
	o := newPushing(t)
	first, second, _ := tables()
	args := []string{"push", "--keys", o.at("unit"), "--passphrase-file", o.pass, "--plan", o.at("plan.json"), "--question", o.at("question.json"),
		"--source", "ds-claims=" + o.at("claims.csv"), "--subject-key", o.at("subject"), "--out", o.at("none"), "--digest", o.digest}
	if err := os.Mkdir(o.at("none"), 0o700); err != nil {
		t.Fatal(err)
	}
	key := []string{"--ledger", o.at("units-ledger"), "--ledger-key", o.at("units-key")}
	for _, flags := range [][]string{nil, key[:2], key[2:], append(key[:4:4], "--quota", "-1"), {"--quota", "3"}} {
		if said := o.do(2, append(append(args[:len(args):len(args)], o.cards...), flags...)...); !strings.Contains(said, "ledger") {
			t.Errorf("%v: %s", flags, said)
		}
	}
	rows := first + second
	o.write("claims.csv", claimsHead+rows+"p-1,99999999.00,paid,x\n") // beyond the column's range: nothing is counted
	if said := o.push(1, "unit", "zero", o.cards...); !strings.Contains(said, "too large") {
		t.Error(said)
	}
	o.write("claims.csv", claimsHead+rows)
	o.push(0, "unit", "one", o.cards...)
	paid := strings.Index(rows, ",paid,") // the filter lets it pass
	line := strings.LastIndexByte(rows[:paid], '\n') + 1
	end := paid + strings.IndexByte(rows[paid:], '\n') + 1
	changed := rows[:line] + rows[end:]
	o.write("claims.csv", claimsHead+changed)
	if said := o.push(3, "unit", "two", o.cards...); !strings.Contains(said, "psi.near-repeat") || strings.Contains(said, "p-") {
		t.Error(said)
	}
	if left, err := os.ReadDir(o.at("two")); err != nil || len(left) > 0 {
		t.Errorf("%v, or something was written", err)
	}
	o.write("claims.csv", claimsHead+rows)
	o.push(0, "unit", "three", o.cards...)
	if said := o.push(3, "unit", "four", append(o.cards, "--quota", "2")...); !strings.Contains(said, "psi.jobs-quota") {
		t.Error(said)
	}
}

// TestPushed: a unit that is no party pushes shares of its claims; three parties join them with one's persons and answer as the columnar engine
// does. What is for another plan, key or party, or was changed, is refused before a link is made.
func TestPushed(t *testing.T) {
	o := newPushing(t)
	push, cards, q := o.push, o.cards, o.q
	first, second, persons := tables()
	if said := push(0, "unit", "pushed", cards...); !strings.Contains(said, "120 rows of ds-claims, padded to 1024") || !strings.Contains(said, "Any two of") {
		t.Error(said)
	}
	digest := o.digest
	for _, wrong := range []string{"", strings.Repeat("ab", 32)} { // what is pushed, to what end, before anything is
		o.digest = wrong
		if said := push(3, "unit", "unread", cards...); !strings.Contains(said, "dataset ds-claims, up to 1024 rows, as shares that its unit") || !strings.Contains(said, "Any two of") || !strings.Contains(said, "--digest "+digest) {
			t.Error(said)
		}
		if left, err := os.ReadDir(o.at("unread")); err != nil || len(left) > 0 {
			t.Errorf("%v, or something was written", err)
		}
	}
	o.digest = digest
	for name, c := range map[string]struct {
		folder string
		cards  []string
		status int
		says   string
	}{
		"another unit":     {"other", cards, 3, "another unit's key"},
		"a card missing":   {"unit", cards[:4], 2, "p2 is missing"},
		"a card twice":     {"unit", append(cards[:2:2], cards[:4]...), 3, "one for each"},
		"a stranger's key": {"unit", []string{"--card", o.write("stranger", "{}")}, 3, "a card of a party of the plan"},
	} {
		if said := push(c.status, c.folder, "none", c.cards...); !strings.Contains(said, c.says) {
			t.Errorf("%s: %s", name, said)
		}
	}
	push(1, "unit", "pushed", cards...) // never over a file
	// No row is in what leaves the unit, and no two pushes are alike.
	push(0, "unit", "again", cards...)
	for _, p := range o.plan.Parties {
		one, err := os.ReadFile(o.at("pushed/ds-claims." + string(p.ID)))
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(o.at("again/ds-claims." + string(p.ID)))
		if err != nil || bytes.Contains(one, []byte("refused")) || bytes.Contains(one, []byte("secret note")) || bytes.Equal(one[len(one)/2:], two[len(two)/2:]) {
			t.Errorf("%v, or a row, or the same bytes twice", err)
		}
	}
	// A party's file is for it alone, whole and of this plan.
	listen, addresses := listeners(t)
	p := o.plan.Parties[2]
	o.do(0, "approve", "--keys", o.at("owner"+p.Role), "--passphrase-file", o.pass, "--plan", o.at("plan.json"), "--question", o.at("question.json"), "--party", string(p.ID), "--days", "1", "--out", o.at("early"))
	refused := func(status int, says string, flags ...string) {
		t.Helper()
		if said := o.do(status, append(append([]string{"run", "--keys", o.at("party" + p.Role), "--passphrase-file", o.pass, "--plan", o.at("plan.json"), "--question", o.at("question.json"), "--party", string(p.ID),
			"--approval", o.at("early"), "--listen", listen[2], "--joined", o.at("joined"), "--out", o.at("none.json"), "--certificate", o.at("none.cert")}, addresses...), flags...)...); !strings.Contains(said, says) {
			t.Errorf("%s: %s", says, said)
		}
	}
	refused(2, "--pushed")
	refused(1, "sealed to this party", "--pushed", o.at("pushed/ds-claims.p0"))
	own, err := os.ReadFile(o.at("pushed/ds-claims.p2"))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{len(own) / 3, len(own) / 2, len(own) - 1} {
		b := bytes.Clone(own)
		b[at] ^= 1
		refused(1, "tampered", "--pushed", o.write("changed", string(b)))
	}
	refused(1, "frames of both parts", "--pushed", o.write("cut", string(own[:len(own)-9])))
	refused(1, "nothing stands behind", "--pushed", o.write("long", string(own)+"x"))

	source := []string{"--source", "ds-persons=" + o.write("persons.csv", personsHead+persons)}
	o.runs(0, [3][]string{{"--pushed", o.at("pushed/ds-claims.p0")}, append(source, "--pushed", o.at("pushed/ds-claims.p1")), {"--pushed", o.at("pushed/ds-claims.p2")}})
	o.answers(q, claimsHead+first+second, personsHead+persons)

	q.Setting.Held[0].Unit = nil
	if _, err := lineJob(q); err == nil || !strings.Contains(err.Error(), "name the key of the unit") {
		t.Errorf("a push of nobody: %v", err)
	}
}
