package attest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// BundleFormat (存证包格式) names the file format: lines of JSON, each in its one encoding.
//
//	header   format, domain, audience, log origin, domain signing key, checkpoint, number of entries, the note that
//	         witnesses signed last if there is one: a checkpoint over the first of the entries, with their co-signatures
//	entry    index, entry hash, and if the audience may see the event: salt and event; "erased" if nobody can any more
//	…        one line per entry of the log, in order, none left out
//	last     the domain's signature over SM3 of every byte before this line
//
// Header and entries end in a check value: the first 8 bytes of SM3 over the previous line's chain value and this line
// without its check.
const BundleFormat = "opdomain-bundle/1"

type bundleHeader struct {
	Format     string `json:"format"`
	Domain     string `json:"domain"`
	Audience   string `json:"audience"`
	Origin     string `json:"origin"`
	SignKey    []byte `json:"sign_key"`
	Checkpoint string `json:"checkpoint"`
	Size       uint64 `json:"size"`
	Witnessed  string `json:"witnessed,omitempty"` // the note witnesses signed last, over the first of the entries
	Check      string `json:"check,omitempty"`
}

type bundleEntry struct {
	Index uint64          `json:"i"`
	Entry []byte          `json:"entry"`
	Gone  bool            `json:"erased,omitempty"`
	Salt  []byte          `json:"salt,omitempty"`
	Event json.RawMessage `json:"event,omitempty"`
	Check string          `json:"check,omitempty"`
}

type bundleEnd struct {
	Signature []byte `json:"signature"`
}

// maxLine bounds one line of a bundle in bytes; maxEntries the number of its entries.
const (
	maxLine    = 2 << 20
	maxEntries = 1 << 24
)

// chain is the running value behind the lines' checks.
type chain [sm.Size]byte

// next takes in a line without its check and gives the check.
func (c *chain) next(line any) (string, error) {
	b, err := json.Marshal(line)
	if err != nil {
		return "", &sandbox.Error{Op: "bundle", Kind: sandbox.Internal, Object: "line", Err: err}
	}
	*c = sm.Sum(c[:], b)
	return hex.EncodeToString(c[:8]), nil
}

func entryName(i uint64) string { return fmt.Sprintf("entry %d", i) }

// WriteBundle writes the evidence bundle of a domain for an audience: every entry of the log as its hash, the events that
// visible allows in full. The log's origin is "opdomain/" and the domain's name. An erased entry is marked when visible
// allows the evidence.erased that names it, or none names it; otherwise it stands as a hidden one, since what was erased
// together belongs together. visible is asked in the order of the log, about evidence.erased more than once.
func (r *Recorder) WriteBundle(ctx context.Context, w io.Writer, domain, audience string, visible func(Event) bool) error {
	r.erasing.RLock()
	defer r.erasing.RUnlock()
	note, witnessed, err := r.witnessed() // before the checkpoint, which is then not smaller
	if err != nil {
		return err
	}
	cp := r.log.Checkpoint()
	var shown, named map[uint64][sm.Size]byte // of the erased, read when the first one comes
	h := sm.NewHash()
	buf := bufio.NewWriter(w)
	both := io.MultiWriter(buf, h)
	head := bundleHeader{Format: BundleFormat, Domain: domain, Audience: audience, Origin: r.log.Origin(), SignKey: r.key.Public().Bytes(), Checkpoint: cp.String(), Size: cp.Size}
	if witnessed {
		head.Witnessed = note.String()
	}
	var run chain
	if head.Check, err = run.next(head); err != nil {
		return err
	}
	if err := writeLine(both, head); err != nil {
		return err
	}
	for i := range cp.Size {
		e, err := r.read(i)
		if err == nil {
			err = ctx.Err()
		}
		if err == nil && e.Erased && named == nil {
			if named, err = r.named(ctx, i, cp.Size, func(Event) bool { return true }); err == nil {
				shown, err = r.named(ctx, i, cp.Size, visible)
			}
		}
		if err != nil {
			return err
		}
		line := bundleEntry{Index: i, Entry: e.Entry[:]}
		if e.Erased {
			_, told := shown[i]
			_, known := named[i]
			line.Gone = told || !known
		} else if visible(e.Event) {
			line.Salt, line.Event = e.Salt, e.Text
		}
		if line.Check, err = run.next(line); err != nil {
			return err
		}
		if err := writeLine(both, line); err != nil {
			return err
		}
	}
	sig, err := r.key.Sign(r.rand, ContextBundle, h.Sum(nil))
	if err != nil {
		return err
	}
	if err := writeLine(buf, bundleEnd{sig}); err != nil {
		return err
	}
	if err := buf.Flush(); err != nil {
		return &sandbox.Error{Op: "bundle: write", Kind: sandbox.Unavailable, Object: "bundle", Err: err}
	}
	return nil
}

func writeLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return &sandbox.Error{Op: "bundle: write", Kind: sandbox.Internal, Object: "bundle", Err: err}
	}
	if _, err := w.Write(append(b, '\n')); err != nil {
		return &sandbox.Error{Op: "bundle: write", Kind: sandbox.Unavailable, Object: "bundle", Err: err}
	}
	return nil
}

// bundleReader reads a bundle line by line. Every error names the line.
type bundleReader struct {
	r    *bufio.Reader
	line int
	sum  hash.Hash // over the lines before the last
	run  chain
}

func (b *bundleReader) fault(rule string) error {
	return &sandbox.Error{Op: "bundle: verify", Kind: sandbox.Tampered, Object: fmt.Sprintf("line %d", b.line), Detail: rule}
}

func (b *bundleReader) next() ([]byte, error) {
	b.line++
	var line []byte
	for {
		part, err := b.r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return nil, b.fault("a line has at most 2 MiB")
		}
		if err == nil {
			return line, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) && err != io.EOF {
			return nil, &sandbox.Error{Op: "bundle: verify", Kind: sandbox.Unavailable, Object: fmt.Sprintf("line %d", b.line), Detail: "the bundle cannot be read", Err: err}
		}
		if err == io.EOF {
			return nil, b.fault("the bundle ends early: every line ends with a line feed and the last one is a signature")
		}
	}
}

// decode reads a line strictly: known fields, its one encoding.
func (b *bundleReader) decode(line []byte, into any) error {
	if err := strict(line, into); err != nil {
		return b.fault("one JSON object with the fields of its kind of line")
	}
	again, err := json.Marshal(into)
	if err != nil || !bytes.Equal(append(again, '\n'), line) {
		return b.fault("a line stands in its one encoding")
	}
	return nil
}

// header reads the first line.
func (b *bundleReader) header() (bundleHeader, error) {
	var h bundleHeader
	line, err := b.next()
	if err != nil {
		return h, err
	}
	if err := b.decode(line, &h); err != nil {
		return h, err
	}
	b.sum.Write(line)
	check := h.Check
	h.Check = ""
	if want, err := b.run.next(h); err != nil || want != check {
		return h, b.fault("the line was changed: its check value differs")
	}
	return h, nil
}

// entry reads the line of entry i.
func (b *bundleReader) entry(i uint64) (bundleEntry, error) {
	var e bundleEntry
	line, err := b.next()
	if err != nil {
		return e, err
	}
	if err := b.decode(line, &e); err != nil {
		return e, err
	}
	b.sum.Write(line)
	check := e.Check
	e.Check = ""
	want, err := b.run.next(e)
	switch {
	case err != nil || want != check:
		return e, b.fault(fmt.Sprintf("the line of entry %d was changed, or one before it was left out: its check value differs", i))
	case e.Index != i || len(e.Entry) != sm.Size || (len(e.Salt) == 0) != (len(e.Event) == 0) || e.Gone && len(e.Event) > 0:
		return e, b.fault(fmt.Sprintf("this line is entry %d: a hash of 32 bytes, and salt and event together or not at all", i))
	case len(e.Event) > 0 && (len(e.Salt) != saltLen || sm.HMAC(e.Salt, e.Event) != [sm.Size]byte(e.Entry)):
		return e, b.fault(fmt.Sprintf("entry %d: the event is not the one the entry was made from", i))
	}
	return e, nil
}

// end reads the last line and checks that nothing follows it.
func (b *bundleReader) end(key *sm.VerifyKey) error {
	line, err := b.next()
	if err != nil {
		return err
	}
	var e bundleEnd
	if err := b.decode(line, &e); err != nil {
		return err
	}
	if key.Verify(ContextBundle, b.sum.Sum(nil), e.Signature) != nil {
		return b.fault("the domain's signature over the whole bundle does not verify")
	}
	if _, err := b.r.ReadByte(); err != io.EOF {
		b.line++
		return b.fault("nothing follows the signature")
	}
	return nil
}
