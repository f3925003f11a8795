package agent

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Contexts of what a party and a unit sign.
const (
	contextCard = "opdomain/mpc/card/v1"
	contextPush = "opdomain/mpc/push/v1"
)

// cardBody says under which key messages to a party are sealed.
type cardBody struct {
	Party sandbox.PartyID `json:"party"`
	Seal  []byte          `json:"seal"` // SM2 point
}

// card signs the party's own sealing key under the key that plans name.
func (a *Agent) card(_ context.Context, f *flags) error {
	if err := sandbox.CheckID("party", f.party); err != nil {
		return err
	}
	v, err := a.open(f)
	if err != nil {
		return err
	}
	defer v.Close()
	s, err := attest.Sign(a.Rand, v.SigningKey(), sandbox.IdentityID(f.party), contextCard, cardBody{sandbox.PartyID(f.party), v.DecryptKey().Public().Bytes()})
	if err != nil {
		return err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return create(f.out, b)
}

// readCards gives the sealing key of each party of a plan.
func readCards(paths []string, p mpc.Plan) (out [mpc.Parties]*sm.EncryptKey, err error) {
	for _, path := range paths {
		bad := func(rule string) error {
			return &sandbox.Error{Op: "party push", Kind: sandbox.Denied, Object: path, Detail: rule, Hint: "ask the party for what its card verb writes"}
		}
		text, err := readFile(path)
		if err != nil {
			return out, err
		}
		var s attest.Statement
		if json.Unmarshal(text, &s) != nil {
			return out, bad("a card in JSON")
		}
		found := false
		for i, x := range p.Parties {
			key, err := sm.ParseVerifyKey(x.Key)
			if err != nil {
				return out, err
			}
			var b cardBody
			if s.Open(key, contextCard, &b) != nil || b.Party != x.ID || out[i] != nil {
				continue
			}
			if out[i], err = sm.ParseEncryptKey(b.Seal); err != nil {
				return out, bad("the key is a point of the SM2 curve")
			}
			found = true
			break
		}
		if !found {
			return out, bad("a card of a party of the plan, signed under the key that the plan names, one for each")
		}
	}
	for i, k := range out {
		if k == nil {
			return out, &sandbox.Error{Op: "party push", Kind: sandbox.Invalid, Object: "--card", Detail: "one of each party: " + string(p.Parties[i].ID) + " is missing", Err: errUsage}
		}
	}
	return out, nil
}

// pushBody is what a unit signs of a push. The commitments are salted, with a salt that only who holds the part has: a hash of what the third
// part must be would confirm a guess of the rows.
type pushBody struct {
	Plan        string              `json:"plan"` // digest in hex
	Dataset     sandbox.DatasetID   `json:"dataset"`
	Rows        int                 `json:"rows"` // padded
	Columns     int                 `json:"columns"`
	Commitments [mpc.Parties][]byte `json:"commitments"` // SM3 of each part with its salt
}

// A push in a file: the signed statement, a line of JSON; then two parts, each in frames of a length in 4 bytes, big endian, and a message
// sealed to the party. The first frame of a part is its salt, with the seed of its columns where it has one; parts 0 and 1 are keystreams,
// part 2 has a frame for each column, what is left of the values, in little-endian words.
const (
	saltSize = 32
	maxFrame = 1<<23 + 256 // a column of 2^20 words, sealed
)

// part is a part's frames in the open.
type part [][]byte

func (x part) commitment(k int) [sm.Size]byte {
	return sm.Sum(sm.Frame(append([][]byte{[]byte(contextPush), {byte(k)}}, x...)...))
}

// push splits what the question needs of the own rows, once its ledger allows it, and writes a file for each party.
func (a *Agent) push(ctx context.Context, f *flags) error {
	p, question, q, err := readPlanned(f)
	if err != nil {
		return err
	}
	deny := func(rule, hint string) error {
		return &sandbox.Error{Op: "party push", Kind: sandbox.Denied, Object: string(p.Job), Detail: rule, Hint: hint}
	}
	if !a.Now().Before(p.Expires) {
		return deny("the plan has expired", "ask for a new plan")
	}
	if q.line == nil {
		return deny("the question is no inquiry: rows are pushed for those alone", "")
	}
	set, held, columns, ok := q.line.Pushes()
	if !ok {
		return deny("no rows of the question are pushed", "have the setting say of the dataset that it is pushed, with the key of its unit")
	}
	words, err := Words(p, question, "")
	if err != nil {
		return err
	}
	d := p.Digest()
	digest := hex.EncodeToString(d[:])
	fmt.Fprint(a.Out, words) // before anything is read or signed
	if f.digest != digest {
		return deny("a unit pushes for the plan whose digest it names", "read what is said above, then give --digest "+digest)
	}
	if err := f.hasLedger(); err != nil {
		return err
	}
	seals, err := readCards(f.cards, p)
	if err != nil {
		return err
	}
	v, err := a.open(f)
	if err != nil {
		return err
	}
	defer v.Close()
	if !bytes.Equal(v.SigningKey().Public().Bytes(), held.Unit) {
		return deny("the question names another unit's key for "+string(set.ID), "push with the key folder that the owners approved")
	}
	t, err := a.inputs(f, q.line, p)
	if err != nil {
		return err
	}
	defer t.vaults.close()
	rows, names, err := t.read(ctx, 0, held.Rows)
	if err != nil {
		return err
	}
	// Nobody else ever sees the rows: that two pushes differ in a few people, only their unit can find.
	q.own, q.names = agg.Own{0: rows}, map[int][]string{0: names}
	if err := q.admit(f, p, -1, a.Now()); err != nil {
		return err
	}
	cols, err := q.line.Encode(rows, held.Rows)
	if err != nil {
		return err
	}
	parts, err := splitColumns(cols, a.Rand)
	if err != nil {
		return err
	}
	body := pushBody{Plan: digest, Dataset: set.ID, Rows: held.Rows, Columns: columns}
	for k := range parts {
		c := parts[k].commitment(k)
		body.Commitments[k] = c[:]
	}
	s, err := attest.Sign(a.Rand, v.SigningKey(), sandbox.IdentityID(set.Unit), contextPush, body)
	if err != nil {
		return err
	}
	for i, x := range p.Parties {
		if err := writePush(filepath.Join(f.out, string(set.ID)+"."+string(x.ID)), s, seals[i], i, parts, a.Rand); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.Out, "\npushed 已推送: %s: %d rows of %s, padded to %d, %d columns, in %s for each party\n", p.Job, rows.Len(), set.ID, held.Rows, columns, f.out)
	return nil
}

// splitColumns makes the three parts of a unit's columns.
func splitColumns(cols [][]uint64, rand io.Reader) (parts [mpc.Parties]part, err error) {
	var streams [2]*sm.Keystream
	for k := range parts {
		first := make([]byte, saltSize+map[bool]int{true: sm.KeySize}[k < 2])
		if _, err := io.ReadFull(rand, first); err != nil {
			return parts, &sandbox.Error{Op: "party push", Kind: sandbox.Unavailable, Object: "random source", Err: err}
		}
		parts[k] = part{first}
		if k < 2 {
			if streams[k], err = sm.NewKeystream(first[saltSize:]); err != nil {
				return parts, err
			}
		}
	}
	for _, col := range cols {
		one, two := words(streams[0], len(col)), words(streams[1], len(col))
		left := make([]byte, 8*len(col))
		for i, v := range col {
			binary.LittleEndian.PutUint64(left[8*i:], v-one[i]-two[i])
		}
		parts[2] = append(parts[2], left)
	}
	return parts, nil
}

func words(s *sm.Keystream, n int) []uint64 {
	b := make([]byte, 8*n)
	_, _ = s.Read(b)
	return fromBytes(b)
}

func fromBytes(b []byte) []uint64 {
	out := make([]uint64, len(b)/8)
	for i := range out {
		out[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return out
}

// frameContext binds a frame to its push and place.
func frameContext(s attest.Statement, party, part, frame int) string {
	d := sm.Sum(s.Body, s.Signature)
	return fmt.Sprintf("%s %x %d %d %d", contextPush, d, party, part, frame)
}

// heldParts are the two parts of a party, in order.
func heldParts(party int) [2]int { return [2]int{party, (party + 1) % mpc.Parties} }

// writePush writes a party's file, whole or not at all.
func writePush(path string, s attest.Statement, to *sm.EncryptKey, party int, parts [mpc.Parties]part, rand io.Reader) error {
	head, err := json.Marshal(s)
	if err != nil {
		return err
	}
	b := append(head, '\n')
	for _, k := range heldParts(party) {
		for n, frame := range parts[k] {
			sealed, err := to.SealMessage(rand, frameContext(s, party, k, n), frame)
			if err != nil {
				return err
			}
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(sealed))), sealed...)
		}
	}
	return create(path, b)
}

// adopt reads the party's shares of a pushed input, where the question has one.
func (a *Agent) adopt(f *flags, q *job, p mpc.Plan, key *sm.DecryptKey) error {
	usage := func(rule string) error {
		return &sandbox.Error{Op: "party run", Kind: sandbox.Invalid, Object: "--pushed", Detail: rule, Err: errUsage}
	}
	var pushes bool
	var set catalog.Dataset
	var want pushBody
	var unit *sm.VerifyKey
	if q.line != nil {
		held := q.inquiry.Setting.Held[0]
		var err error
		if set, held, want.Columns, pushes = q.line.Pushes(); pushes {
			if unit, err = sm.ParseVerifyKey(held.Unit); err != nil {
				return err
			}
			want.Rows = held.Rows
		}
	}
	switch {
	case pushes && f.pushed == "":
		return usage("the shares that the unit of " + string(set.ID) + " pushed to this party")
	case !pushes && f.pushed != "":
		return usage("no rows of the question are pushed")
	case !pushes:
		return nil
	}
	d := p.Digest()
	want.Plan, want.Dataset = hex.EncodeToString(d[:]), set.ID
	party := -1
	for i, x := range p.Parties {
		if string(x.ID) == f.party {
			party = i
		}
	}
	file, err := os.Open(f.pushed)
	if err != nil {
		return &sandbox.Error{Op: "party run", Kind: sandbox.NotFound, Object: f.pushed, Detail: "the file cannot be read"}
	}
	defer file.Close()
	cols, err := readPush(file, f.pushed, want, unit, party, key)
	if err != nil {
		return err
	}
	for _, c := range cols {
		q.pushed = append(q.pushed, share.VecOf(c[0], c[1]))
	}
	return nil
}
