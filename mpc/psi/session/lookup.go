package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/opdomain/opdomain/mpc/canonical"
	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/mpc/psi/lookup"
	"github.com/opdomain/opdomain/sandbox"
)

// Lookup (单条查询约定) is what a holder, the first party, and an asker agreed on.
type Lookup struct {
	Terms
	Run   sandbox.RunID `json:"run"`
	Suite lookup.Suite  `json:"suite"`
	Size  int           `json:"size"`  // bucket of the table
	Quota int64         `json:"quota"` // lookups in a window, whole blocks of lookup.Block
	Days  int           `json:"days"`  // of the window
}

// CodeQuota is the object of the Denied that an asker gets past its quota.
const CodeQuota = "psi.lookup-quota"

const (
	maxLookups = 1 << 20
	tagBytes   = 16
	proofBytes = 64
)

// Encode gives the one encoding.
func (l *Lookup) Encode() []byte { return canonical.Encode(l) }

// Check gives Invalid, naming field and rule, where nobody can look up under it.
func (l *Lookup) Check() error {
	if err := l.check(KindLookup); err != nil {
		return err
	}
	if err := sandbox.CheckID("run", string(l.Run)); err != nil {
		return err
	}
	switch {
	case l.Suite != lookup.P256 && l.Suite != lookup.Ristretto255:
		return invalid("suite", string(lookup.P256)+" or "+string(lookup.Ristretto255))
	case l.Size < 1 || l.Size > psi.MaxSize || psi.Bucket(l.Size) != l.Size:
		return invalid("size", "a registered bucket: 10, 20, 50, 100 …")
	case l.Quota < lookup.Block || l.Quota > maxLookups || l.Quota%lookup.Block != 0:
		return invalid("quota", fmt.Sprintf("whole blocks of %d lookups, at most 2^20", lookup.Block))
	case l.Days < 1 || l.Days > 366:
		return invalid("days", "1 to 366")
	}
	return nil
}

// Explain says in words what each side learns.
func (l *Lookup) Explain() []string {
	holder, asker := l.Parties[0], l.Parties[1]
	return []string{
		fmt.Sprintf("lookups %s (不经意单条查询): %s asks whether single elements are in the set of %s", l.Run, asker.ID, holder.ID),
		"elements (查询元素): " + l.Element,
		"suite (密码套件): " + string(l.Suite) + ", RFC 9497, verifiable; no SM algorithm: the standard has no suite over SM2",
		fmt.Sprintf("%s of %s (查询方) learns: the size bucket of the set (集合规模档): %d; one bit a lookup: is the element in the set (是否在集合内)", asker.ID, asker.Organisation, l.Size),
		fmt.Sprintf("%s of %s (持有方) learns: when and how many lookups (查询次数), never the element", holder.ID, holder.Organisation),
		fmt.Sprintf("quota (限额): %d lookups in %d days, taken in blocks of %d before an answer; a session that breaks off may cost a part of a block. Whoever guesses elements of a small domain is held by this number alone",
			l.Quota, l.Days, lookup.Block),
	}
}

// Limits are those of the holder's ledger.
func (l *Lookup) Limits() psi.Limits {
	return psi.Limits{Elements: l.Quota, Window: time.Duration(l.Days) * 24 * time.Hour, Similarity: 1}
}

// element and table give lengths in bytes.
func (l *Lookup) element() int {
	if l.Suite == lookup.P256 {
		return 33
	}
	return 32
}

// Bytes of an answer's first byte.
const (
	answered byte = 1
	refused  byte = 2
)

// Serve answers one session of the asker: the table, then an answer of one length to each question until the asker ends. It gives the number of
// answers. A question over the quota gets a refusal of the same length.
func (l *Lookup) Serve(ctx context.Context, c Config, h *lookup.Holder, t *lookup.Table) (n int, err error) {
	if len(t.Public) != l.element() || len(t.Tags) != l.Size*tagBytes || t.Suite != l.Suite {
		return 0, invalid("table", "a table of the agreed suite and size")
	}
	m, err := meet(ctx, l, &c)
	if err != nil {
		return 0, err
	}
	defer m.close()
	if err := m.Send(tagTable, append(append(binary.BigEndian.AppendUint32(nil, uint32(l.Size)), t.Public...), t.Tags...)); err != nil {
		return 0, err
	}
	question := make([]byte, 1+l.element())
	for {
		if err := m.Post(tagAsk, question)(); err != nil {
			return n, err
		}
		if question[0] == 0 {
			return n, nil
		}
		reply := make([]byte, 1+l.element()+proofBytes)
		switch b, err := h.Answer(l.Parties[1].ID, question[1:], c.Now()); {
		case err == nil:
			reply[0] = answered
			copy(reply[1:], b)
			n++
		case errors.Is(err, sandbox.Denied):
			reply[0] = refused
		case errors.Is(err, sandbox.Invalid):
			return n, m.mesh.Abort(1, "a question is an element of the group")
		default:
			m.Abort("an answer was made")
			return n, err
		}
		if err := m.Send(tagReply, reply); err != nil {
			return n, err
		}
	}
}

// Ask looks elements up, in order, and gives found for those that were answered. Denied with CodeQuota once the holder refuses: what was
// answered before stays with it.
func (l *Lookup) Ask(ctx context.Context, c Config, elements [][]byte) (found []bool, err error) {
	m, err := meet(ctx, l, &c)
	if err != nil {
		return nil, err
	}
	defer m.close()
	head := make([]byte, 4+l.element()+l.Size*tagBytes)
	if err := m.Post(tagTable, head)(); err != nil {
		return nil, err
	}
	if binary.BigEndian.Uint32(head) != uint32(l.Size) {
		return nil, m.mesh.Abort(0, "a table of the agreed size")
	}
	a, err := lookup.NewAsker(&lookup.Table{Suite: l.Suite, Public: head[4 : 4+l.element()], Tags: head[4+l.element():]})
	if err != nil {
		return nil, m.mesh.Abort(0, "a table of its form")
	}
	for _, e := range elements {
		q, err := a.Ask(c.Rand, e)
		if err != nil {
			m.Abort("a question was made")
			return nil, err
		}
		reply := make([]byte, 1+l.element()+proofBytes)
		wait := m.Post(tagReply, reply)
		if err := m.Send(tagAsk, append([]byte{1}, q.Query...)); err != nil {
			return found, err
		}
		if err := wait(); err != nil {
			return found, err
		}
		switch reply[0] {
		case answered:
			in, err := q.Find(reply[1:])
			if err != nil {
				return found, m.mesh.Abort(0, "an answer proves the key of the table")
			}
			found = append(found, in)
		case refused:
			_ = m.end() // the refusal is what counts
			return found, &sandbox.Error{Op: "lookup", Kind: sandbox.Denied, Object: CodeQuota, Detail: "the lookups of one window are within the agreed quota", Hint: "the rest in the next window, or a higher quota that both owners sign"}
		default:
			return found, m.mesh.Abort(0, "an answer or a refusal")
		}
	}
	return found, m.end()
}

// end tells the holder that nothing more is asked.
func (m *pair) end() error {
	return m.Send(tagAsk, make([]byte, 1+m.a.(*Lookup).element()))
}
