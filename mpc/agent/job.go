package agent

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// job is a question of one of the forms, with this party's own rows.
type job struct {
	agg     *agg.Question
	join    *join.Question
	inquiry *agg.Inquiry
	line    *agg.Line // of inquiry

	rows   []agg.Row
	joined []join.Row
	own    agg.Own
	names  map[int][]string // by input of a line: whose its rows are, in the form they are joined in
	pushed agg.Pushed
}

// parseJob reads a question in its one encoding.
func parseJob(text []byte) (*job, error) {
	if agg.IsInquiry(text) {
		q, err := agg.ParseInquiry(text)
		if err != nil {
			return nil, err
		}
		return lineJob(q)
	}
	if join.Is(text) {
		q, err := join.ParseQuestion(text)
		return &job{join: &q}, err
	}
	q, err := agg.ParseQuestion(text)
	return &job{agg: &q}, err
}

// lineJob makes the line of an inquiry, or refuses it by its first reason.
func lineJob(q agg.Inquiry) (*job, error) {
	l, reasons := q.Line()
	if l == nil {
		r := reasons[0]
		return nil, &sandbox.Error{Op: "party question", Kind: sandbox.Denied, Object: r.Code + " " + r.Column, Detail: r.Rule, Hint: r.Change}
	}
	for _, h := range q.Setting.Held {
		if _, err := sm.ParseVerifyKey(h.Unit); h.Pushed && (err != nil || !slices.Contains(mpc.Buckets, h.Rows)) {
			return nil, &sandbox.Error{Op: "party question", Kind: sandbox.Denied, Object: string(h.Dataset), Detail: "pushed rows have a registered size and name the key of the unit that pushes them",
				Hint: "put the point that the unit's key verb prints into the setting's unit, and a size of the plan's buckets into its rows"}
		}
	}
	return &job{inquiry: &q, line: l}, nil
}

// draftJob reads a question as a person writes it.
func draftJob(text []byte, path string) (*job, error) {
	if agg.IsInquiry(text) {
		var q agg.Inquiry
		if json.Unmarshal(text, &q) != nil {
			return nil, &sandbox.Error{Op: "party plan", Kind: sandbox.Invalid, Object: path, Detail: "an inquiry in JSON"}
		}
		return lineJob(q)
	}
	j := &job{agg: &agg.Question{}}
	var err error
	if join.Is(text) {
		j = &job{join: &join.Question{}}
		err = json.Unmarshal(text, j.join)
	} else {
		err = json.Unmarshal(text, j.agg)
	}
	if err != nil {
		return nil, &sandbox.Error{Op: "party plan", Kind: sandbox.Invalid, Object: path, Detail: "a question in JSON"}
	}
	if j.join != nil {
		return j, j.join.Check()
	}
	return j, j.agg.Check()
}

func (j *job) encode() []byte {
	if j.inquiry != nil {
		return j.inquiry.Encode()
	}
	if j.join != nil {
		return j.join.Encode()
	}
	return j.agg.Encode()
}

func (j *job) digest() string {
	if j.inquiry != nil {
		return j.inquiry.Digest()
	}
	if j.join != nil {
		return j.join.Digest()
	}
	return j.agg.Digest()
}

// outputs gives the rows of each output, by name.
func (j *job) outputs() map[string]int {
	if j.line != nil {
		return j.line.Sizes()
	}
	if j.join != nil {
		return j.join.Outputs()
	}
	n := len(j.agg.Groups)
	return map[string]int{agg.OutShown: n, agg.OutPeople: n, agg.OutRows: n, agg.OutSum: n}
}

// owners gives places and sizes of the tables, in the order of the plan's inputs.
func (j *job) owners() (places, rows []int) {
	if j.inquiry != nil {
		for _, h := range sharedBy(j.inquiry.Setting.Held) {
			places, rows = append(places, h.Party), append(rows, h.Rows)
		}
		return places, rows
	}
	if j.join != nil {
		return []int{j.join.Left.Owner, j.join.Right.Owner}, []int{j.join.Left.Rows, j.join.Right.Rows}
	}
	return j.agg.Owners, j.agg.Rows
}

// sharedBy leaves what parties hold: pushed rows are no party's input.
func sharedBy(held []agg.Held) []agg.Held {
	return slices.DeleteFunc(slices.Clone(held), func(h agg.Held) bool { return h.Pushed })
}

// read reads the own table of a party at a place; key is the owners'. Pseudonyms of a join are under a key of the plan, so that two jobs'
// tables do not match through them.
func (j *job) read(place int, path string, key []byte, p mpc.Plan) error {
	if j.join == nil {
		rows, err := readTable(path, j.agg.Groups, key)
		if err != nil {
			return err
		}
		j.rows = rows
		return j.agg.Fits(rows, j.agg.Rows[slices.Index(j.agg.Owners, place)])
	}
	d := p.Digest()
	k, err := join.SubjectKey(key, d)
	if err != nil {
		return err
	}
	f, err := openTable(path)
	if err != nil {
		return err
	}
	defer f.Close()
	side, t, _ := j.join.Table(place)
	if j.joined, err = joinRows(f, path, j.join.SubjectKind, t.Groups, j.join.Columns(side), k); err != nil {
		return err
	}
	return j.join.Fits(place, j.joined)
}

// run computes at a place.
func (j *job) run(e *share.Engine, place int) (map[string]share.Vec, error) {
	if j.line != nil {
		return j.line.Run(e, place, j.own, j.pushed)
	}
	if j.join != nil {
		return join.Run(e, *j.join, place, j.joined)
	}
	return agg.Run(e, *j.agg, place, j.rows)
}

// result puts what opened into an Output and gives how many groups there are.
func (j *job) result(o *Output, p mpc.Plan, opened map[string][]uint64) (n int, err error) {
	if j.join != nil {
		o.Learns, o.Measures = j.join.Learns(p.Recipient()), j.join.Measures
	}
	if len(opened) < len(p.Outputs) { // the others are another party's
		if to := p.Recipient(); to >= 0 {
			o.Recipient = p.Parties[to].ID
		}
		return 0, nil
	}
	if j.line != nil {
		o.Answer, err = j.line.Read(opened)
		o.Columns, o.Tells = j.line.Outputs(), j.line.Learns()
		return len(o.Answer), err
	}
	if j.join != nil {
		o.Cells, err = j.join.Read(opened)
		return len(o.Cells), err
	}
	o.Groups, err = j.agg.Read(opened)
	return len(o.Groups), err
}

const ruleSubject = "every row has a subject, in the form of the question's kind of identifiers"

// joinRows parses an owner's table of a join: header, then a row a line.
func joinRows(r io.Reader, name string, kind catalog.SubjectKind, groups, columns []string, key []byte) ([]join.Row, error) {
	t := newTable(r, name, maxTable, "as many fields as the header, quotes closed")
	if err := t.head("the columns are group, subject and the measures of this side, as the question names and orders them",
		func(head []string) bool { return slices.Equal(head, append([]string{"group", "subject"}, columns...)) }); err != nil {
		return nil, err
	}
	mac, err := sm.NewMAC(key)
	if err != nil {
		return nil, err
	}
	var out []join.Row
	var sum [8]byte
	for {
		rec, err := t.next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		x := join.Row{Group: slices.Index(groups, rec[0])}
		if x.Group < 0 {
			return nil, t.bad("the group is one of the question's")
		}
		id, ok := join.Normal(kind, rec[1])
		if !ok {
			return nil, t.bad(ruleSubject)
		}
		for _, text := range rec[2:] {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n < 0 || n > join.MaxAmount {
				return nil, t.bad("a measure is a whole number from 0 to 2^40-1")
			}
			x.Values = append(x.Values, n)
		}
		mac.Rows(sum[:], 8, []int32{0, int32(len(id))}, []byte(id))
		x.Subject = binary.BigEndian.Uint64(sum[:]) >> (64 - join.SubjectBits)
		out = append(out, x)
	}
}

// PlainJoin answers a join over the owners' files in the open: the oracle of a demonstration with generated tables.
func PlainJoin(q join.Question, left, right, subjectKey string) ([]join.Cell, error) {
	k, err := readHex(subjectKey)
	if err != nil {
		return nil, err
	}
	var tables [2][]join.Row
	for i, path := range []string{left, right} {
		side, t := join.Left, q.Left
		if i == 1 {
			side, t = join.Right, q.Right
		}
		f, err := openTable(path)
		if err != nil {
			return nil, err
		}
		tables[i], err = joinRows(f, path, q.SubjectKind, t.Groups, q.Columns(side), k)
		_ = f.Close()
		if err != nil {
			return nil, err
		}
	}
	return q.Plain(tables[0], tables[1])
}
