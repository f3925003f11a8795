// Package push is how a unit that is no party gives its rows to the three parties of one plan (推送份额): it splits them into three parts,
// signs the split, and seals to each party the two parts that are its own. No party has a row by them, and two together have all. A push is of
// one plan, dataset and size, under the unit's key that the question names; a part that is not as signed is refused by who opens it, and the
// parties compare their copies when they adopt them (agg.Line.Run).
//
// A push in a file: the signed statement, a line of JSON; then two parts, each in frames of a length in 4 bytes, big endian, and a message sealed
// to the party. The first frame of a part is its salt, with the seed of its columns where it has one; parts 0 and 1 are keystreams, part 2 has a
// frame for each column, what is left of the values, in little-endian words. The first party of a plan has two seeds and no column.
package push

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/sandbox"
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

// Card (密封公钥证) signs, under the key that plans name a party by, the key that messages to it are sealed under.
func Card(rand io.Reader, key *sm.SigningKey, party sandbox.PartyID, seal *sm.EncryptKey) (attest.Statement, error) {
	return attest.Sign(rand, key, sandbox.IdentityID(party), contextCard, cardBody{party, seal.Bytes()})
}

// OpenCard gives the place in a plan of the party whose card it is, and the key that is sealed to. Denied for a card of none; name stands in errors.
func OpenCard(text []byte, name string, p mpc.Plan) (place int, key *sm.EncryptKey, err error) {
	bad := func(rule string) error {
		return &sandbox.Error{Op: "party push", Kind: sandbox.Denied, Object: name, Detail: rule, Hint: "ask the party for what its card verb writes"}
	}
	var s attest.Statement
	if json.Unmarshal(text, &s) != nil {
		return 0, nil, bad("a card in JSON")
	}
	for i, x := range p.Parties {
		by, err := sm.ParseVerifyKey(x.Key)
		if err != nil {
			return 0, nil, err
		}
		var b cardBody
		if s.Open(by, contextCard, &b) != nil || b.Party != x.ID {
			continue
		}
		if key, err = sm.ParseEncryptKey(b.Seal); err != nil {
			return 0, nil, bad("the key is a point of the SM2 curve")
		}
		return i, key, nil
	}
	return 0, nil, bad(RuleCard)
}

// RuleCard is what a card is.
const RuleCard = "a card of a party of the plan, signed under the key that the plan names, one for each"

// Body (推送声明) is what a unit signs of a push. The commitments are salted, with a salt that only who holds the part has: a hash of what the third
// part must be would confirm a guess of the rows.
type Body struct {
	Plan        string              `json:"plan"` // digest in hex
	Dataset     sandbox.DatasetID   `json:"dataset"`
	Rows        int                 `json:"rows"` // padded
	Columns     int                 `json:"columns"`
	Commitments [mpc.Parties][]byte `json:"commitments"` // SM3 of each part with its salt
}

// Of gives what a push for a plan says, but for its commitments, and the key that it verifies under; false where no rows of the line are pushed.
func Of(l *agg.Line, p mpc.Plan) (want Body, unit *sm.VerifyKey, ok bool, err error) {
	set, held, columns, ok := l.Pushes()
	if !ok {
		return want, nil, false, nil
	}
	if unit, err = sm.ParseVerifyKey(held.Unit); err != nil {
		return want, nil, false, err
	}
	d := p.Digest()
	return Body{Plan: hex.EncodeToString(d[:]), Dataset: set.ID, Rows: held.Rows, Columns: columns}, unit, true, nil
}

const (
	saltSize = 32
	maxFrame = 1<<23 + 256 // a column of 2^20 words, sealed
)

// part is a part's frames in the open.
type part [][]byte

func (x part) commitment(k int) [sm.Size]byte {
	return sm.Sum(sm.Frame(append([][]byte{[]byte(contextPush), {byte(k)}}, x...)...))
}

// Digest (推送摘要) names a push: parties that have different ones of a unit's end the run.
func Digest(s attest.Statement) string {
	d := sm.Sum(s.Body, s.Signature)
	return hex.EncodeToString(d[:])
}

// Split (份额拆分) is a unit's columns in three parts.
type Split struct{ parts [mpc.Parties]part }

// New splits columns of one length each.
func New(cols [][]uint64, rand io.Reader) (*Split, error) {
	parts, err := splitColumns(cols, rand)
	return &Split{parts}, err
}

// Sign signs the split for what a push says.
func (x *Split) Sign(rand io.Reader, key *sm.SigningKey, by sandbox.IdentityID, says Body) (attest.Statement, error) {
	for k := range x.parts {
		c := x.parts[k].commitment(k)
		says.Commitments[k] = c[:]
	}
	return attest.Sign(rand, key, by, contextPush, says)
}

// For gives the file of the party at a place.
func (x *Split) For(s attest.Statement, party int, to *sm.EncryptKey, rand io.Reader) ([]byte, error) {
	head, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	b := append(head, '\n')
	for _, k := range heldParts(party) {
		for n, frame := range x.parts[k] {
			sealed, err := to.SealMessage(rand, frameContext(s, party, k, n), frame)
			if err != nil {
				return nil, err
			}
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(sealed))), sealed...)
		}
	}
	return b, nil
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
