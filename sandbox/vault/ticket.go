package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Ticket (取数凭据) opens named columns of one version and nothing else: for each its file's own key, where its batches end and what bounds
// their values. Neither the version's key, nor other columns, nor what the statistics say of them, follow from it.
type Ticket struct {
	dataset sandbox.DatasetID
	version uint64
	key     sandbox.KeyID
	batches []int64
	columns []ticketColumn
}

type ticketColumn struct {
	manifestColumn
	Secret []byte  `json:"secret"` // SM4 key of the file
	Ends   []int64 `json:"ends"`
	// Statistics are by batch; none of pseudonyms.
	Statistics []columnStatistics `json:"statistics,omitempty"`
}

// ticketForm is a ticket as bytes.
type ticketForm struct {
	Dataset sandbox.DatasetID `json:"dataset"`
	Version uint64            `json:"version"`
	Key     sandbox.KeyID     `json:"key"`
	Batches []int64           `json:"batches"`
	Columns []ticketColumn    `json:"columns"`
}

// String keeps keys out of logs.
func (t Ticket) String() string {
	return fmt.Sprintf("ticket %s v%d(redacted)", t.dataset, t.version)
}

// Format keeps keys out of every verb.
func (t Ticket) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// Dataset names what it opens.
func (t Ticket) Dataset() sandbox.DatasetID { return t.dataset }

// Version says which version it opens.
func (t Ticket) Version() uint64 { return t.version }

// Columns names what it opens.
func (t Ticket) Columns() []string {
	var out []string
	for _, c := range t.columns {
		out = append(out, c.Name)
	}
	return out
}

// Forget zeroes its keys. Tickets that were encoded before stay good while the version's files do.
func (t Ticket) Forget() {
	for _, c := range t.columns {
		clear(c.Secret)
	}
}

// Encode writes a ticket with its keys, for a sealed connection to another process of the domain.
func (t Ticket) Encode() []byte {
	b, err := json.Marshal(ticketForm{t.dataset, t.version, t.key, t.batches, t.columns})
	if err != nil { // strings and numbers
		panic("vault: a ticket that does not encode")
	}
	return b
}

// DecodeTicket reads what Encode wrote; anything else is Tampered.
func DecodeTicket(b []byte) (Ticket, error) {
	var x ticketForm
	bad := func(rule string) (Ticket, error) {
		return Ticket{}, &sandbox.Error{Op: "vault: ticket", Kind: sandbox.Tampered, Object: "ticket", Detail: rule}
	}
	if strict(b, &x) != nil || sandbox.CheckID("dataset", string(x.Dataset)) != nil || x.Version == 0 || len(x.Columns) == 0 {
		return bad("names columns of one version")
	}
	if slices.ContainsFunc(x.Batches, func(n int64) bool { return n < 0 }) {
		return bad("a batch has rows")
	}
	for i, c := range x.Columns {
		switch {
		case c.File == "" || filepath.Base(c.File) != c.File || typeNamed(c.Type) == nil:
			return bad("a column of known type and place")
		case len(c.Secret) != sm.KeySize || len(c.ID) != idSize:
			return bad("a column has its file's id and key")
		case len(c.Ends) != len(x.Batches) || !slices.IsSorted(c.Ends) || len(c.Ends) > 0 && c.Ends[0] < 0:
			return bad("a column says where each batch ends")
		case len(c.Statistics) > 0 && len(c.Statistics) != len(x.Batches):
			return bad("what bounds a column's values is by batch")
		case slices.ContainsFunc(x.Columns[:i], func(e ticketColumn) bool { return e.Name == c.Name }):
			return bad("a column stands once")
		}
	}
	return Ticket{x.Dataset, x.Version, x.Key, x.Batches, x.Columns}, nil
}

// maxTicketStatistics bounds what a ticket says of values, about: of versions of billions of rows, whose tickets must fit in a message, it says
// nothing, and all their batches are read.
const maxTicketStatistics = 8 << 20

// unknownNulls stands in a ticket for a batch of which it says nothing.
const unknownNulls = -1

// Ticket makes a ticket for the named columns of a snapshot of this vault. NotFound for one that the version does not have.
func (v *Vault) Ticket(s Snapshot, columns []string) (Ticket, error) {
	if s.key == nil || len(columns) == 0 {
		return Ticket{}, &sandbox.Error{Op: "vault: ticket", Kind: sandbox.Invalid, Object: string(s.Dataset), Detail: "a ticket is for columns of a snapshot of this vault"}
	}
	st, err := v.statistics(s)
	if err != nil {
		return Ticket{}, err
	}
	t := Ticket{dataset: s.Dataset, version: s.Version, key: s.Key, batches: slices.Clone(s.Batches)}
	if t.batches == nil {
		t.batches = []int64{}
	}
	room := maxTicketStatistics
	for i, name := range columns {
		at := slices.IndexFunc(s.columns, func(c manifestColumn) bool { return c.Name == name })
		if at < 0 || slices.Contains(columns[:i], name) {
			t.Forget()
			return Ticket{}, &sandbox.Error{Op: "vault: ticket", Kind: sandbox.NotFound, Object: string(s.Dataset) + "." + name, Detail: "a column of the version, named once"}
		}
		c := s.columns[at]
		secret, err := place{s.Dataset, s.Version, c.Name, s.Key, s.key, nil}.fileKey(c.ID)
		if err != nil {
			t.Forget()
			return Ticket{}, err
		}
		one := ticketColumn{manifestColumn: c, Secret: secret, Ends: append([]int64{}, st.Ends[at]...)}
		for i := range st.Batches {
			x, ok := st.of(at, i)
			if room -= x.size(); !ok || room < 0 {
				one.Statistics = nil
				break
			}
			one.Statistics = append(one.Statistics, x)
		}
		t.columns = append(t.columns, one)
	}
	return t, nil
}

// Granted (凭据读取) reads what a ticket opens, without a key vault.
type Granted struct {
	v *Vault
	s Snapshot
}

// Redeem reads a ticket's columns in the vault folder dir; fs nil is the machine's. Nothing in the folder is changed.
func Redeem(fs durable.FS, dir string, t Ticket) *Granted {
	if fs == nil {
		fs = durable.OS()
	}
	s := Snapshot{Dataset: t.dataset, Version: t.version, Key: t.key, Batches: t.batches, known: &statistics{Batches: make([]batchStatistics, len(t.batches))}}
	var fields []arrow.Field
	for _, c := range t.columns {
		column := c.manifestColumn
		column.granted = c.Secret
		s.columns, s.known.Ends = append(s.columns, column), append(s.known.Ends, c.Ends)
		for k := range s.known.Batches {
			x := columnStatistics{Nulls: unknownNulls}
			if k < len(c.Statistics) {
				x = c.Statistics[k]
			}
			s.known.Batches[k].Columns = append(s.known.Batches[k].Columns, x)
		}
		fields = append(fields, arrow.Field{Name: c.Name, Type: typeNamed(c.Type), Nullable: c.Nullable, Metadata: arrow.MetadataFrom(c.Metadata)})
	}
	for _, n := range t.batches {
		s.Rows += n
	}
	s.Schema = arrow.NewSchema(fields, nil)
	return &Granted{&Vault{fs: fs, dir: dir}, s}
}

// Scan is Vault.Scan over the ticket's columns; others are NotFound.
func (g *Granted) Scan(ctx context.Context, mem memory.Allocator, columns []string) (*Scanner, error) {
	return g.v.Scan(ctx, mem, g.s, columns)
}

// Parts is Vault.Parts: the cuts are the same.
func (g *Granted) Parts(rows int64) (*Parts, error) { return g.v.Parts(g.s, rows) }
