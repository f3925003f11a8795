package witness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
)

// Client (见证客户端) talks to one witness. What it gives back is verified.
type Client struct {
	Name string
	URL  string // http or https, without a path
	Key  *sm.VerifyKey
	HTTP *http.Client // with a timeout
}

// maxAnswer bounds an answer in bytes.
const maxAnswer = 64 << 10

func (c Client) do(ctx context.Context, method, path, body string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, strings.NewReader(body))
	if err != nil {
		return nil, &sandbox.Error{Op: "witness", Kind: sandbox.Invalid, Object: c.Name, Detail: "the address is not a URL"}
	}
	res, err := c.HTTP.Do(r)
	if err != nil {
		return nil, &sandbox.Error{Op: "witness", Kind: sandbox.Unavailable, Object: c.Name, Detail: "cannot be reached"}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, &sandbox.Error{Op: "witness", Kind: sandbox.Unavailable, Object: c.Name, Detail: "the answer broke off"}
	}
	if err := status(res.StatusCode, res.Header.Get("Content-Type"), b); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	return b, nil
}

// AddCheckpoint asks for a co-signature.
func (c Client) AddCheckpoint(ctx context.Context, old uint64, proof [][]byte, cp tlog.Checkpoint) (tlog.Cosignature, error) {
	b, err := c.do(ctx, http.MethodPost, "/add-checkpoint", request{old, proof, tlog.Note{Checkpoint: cp}}.String())
	if err != nil {
		return tlog.Cosignature{}, err
	}
	s, err := tlog.ParseCosignature(string(b))
	if err == nil && s.Name != c.Name {
		err = &sandbox.Error{Op: "witness", Kind: sandbox.Tampered, Object: c.Name, Detail: "another witness has signed"}
	}
	if err == nil {
		err = s.Verify(cp, c.Key)
	}
	return s, err
}

// Latest gives the note the witness signed last for a log, by both signatures; NotFound when it has signed none.
func (c Client) Latest(ctx context.Context, origin string, log *sm.VerifyKey) (tlog.Note, error) {
	b, err := c.do(ctx, http.MethodGet, "/checkpoint?origin="+url.QueryEscape(origin), "")
	if err != nil {
		return tlog.Note{}, err
	}
	n, err := tlog.ParseNote(string(b))
	if err != nil {
		return tlog.Note{}, err
	}
	if n.Origin != origin {
		return tlog.Note{}, &sandbox.Error{Op: "witness", Kind: sandbox.Tampered, Object: c.Name, Detail: "the checkpoint of another log"}
	}
	p := tlog.Policy{Log: log, Witnesses: []tlog.WitnessKey{{Name: c.Name, Key: c.Key}}, Quorum: 1}
	_, _, err = p.Verify(n)
	return n, err
}

// Log (被见证日志) is what Collect and Behind need of a domain's log.
type Log interface {
	Origin() string
	Key() *sm.VerifyKey
	Checkpoint() tlog.Checkpoint
	Size() uint64
	RootAt(size uint64) ([sm.Size]byte, error)
	Consistency(size1, size2 uint64) ([][]byte, error)
}

// Collect has the witnesses sign the log's checkpoint and gives the note with what they signed, and the errors of those that
// did not, by name. It asks all of them at once and waits for all or the end of ctx; whether they suffice is the policy's
// to say.
func Collect(ctx context.Context, log Log, clients []Client) (tlog.Note, map[string]error) {
	cp := log.Checkpoint()
	sigs := make([]tlog.Cosignature, len(clients))
	errs := make([]error, len(clients))
	var wait sync.WaitGroup
	for i, c := range clients {
		wait.Go(func() { sigs[i], errs[i] = one(ctx, log, c, cp) })
	}
	wait.Wait()
	n := tlog.Note{Checkpoint: cp}
	failed := map[string]error{}
	for i, c := range clients {
		if errs[i] != nil {
			failed[c.Name] = errs[i]
			continue
		}
		n.Cosignatures = append(n.Cosignatures, sigs[i])
	}
	return n, failed
}

// one asks one witness, first what it signed last: a domain keeps no account of each.
func one(ctx context.Context, log Log, c Client, cp tlog.Checkpoint) (tlog.Cosignature, error) {
	last, err := c.Latest(ctx, log.Origin(), log.Key())
	if errors.Is(err, sandbox.NotFound) {
		last, err = tlog.Note{}, nil
	}
	if err != nil {
		return tlog.Cosignature{}, err
	}
	old := last.Size
	for range 3 { // another checkpoint of this log may come in between
		if old > cp.Size {
			return tlog.Cosignature{}, behind(c.Name, log.Size(), old)
		}
		var proof [][]byte
		if old > 0 {
			if proof, err = log.Consistency(old, cp.Size); err != nil {
				return tlog.Cosignature{}, err
			}
		}
		sig, err := c.AddCheckpoint(ctx, old, proof, cp)
		var s *Stale
		if !errors.As(err, &s) {
			return sig, err
		}
		old = s.Size
	}
	return tlog.Cosignature{}, &sandbox.Error{Op: "witness", Kind: sandbox.Unavailable, Object: c.Name, Detail: "it is always elsewhere"}
}

func behind(witness string, size, seen uint64) error {
	return &sandbox.Error{Op: "log: open", Kind: sandbox.Tampered, Object: "log",
		Detail: fmt.Sprintf("the log has %d entries, witness %s has signed for %d: the log was put back to an earlier state", size, witness, seen),
		Hint: "bring back the newest copy of the whole folder. If it is lost, the party of each witness decides whether the log goes on from this one (opdomain witness readmit); " +
			"revocations, withdrawn consents and releases since are then to be entered again"}
}

// Behind asks the witnesses for what they have signed last. Tampered when one of them has seen a larger tree than the log's,
// or one that is not its prefix: the log was put back, or forked. shown is how many showed what they have signed, with the newest
// note among them; the errors of those that did not answer are given by name.
func Behind(ctx context.Context, log Log, clients []Client) (newest tlog.Note, shown int, failed map[string]error, err error) {
	notes := make([]tlog.Note, len(clients))
	errs := make([]error, len(clients))
	var wait sync.WaitGroup
	for i, c := range clients {
		wait.Go(func() { notes[i], errs[i] = c.Latest(ctx, log.Origin(), log.Key()) })
	}
	wait.Wait()
	failed = map[string]error{}
	for i, c := range clients {
		switch n := notes[i]; {
		case errors.Is(errs[i], sandbox.NotFound): // it is there; but anybody can say that, it shows no signature
		case errs[i] != nil:
			failed[c.Name] = errs[i]
		case n.Size > log.Size():
			return n, shown, failed, behind(c.Name, log.Size(), n.Size)
		default:
			shown++
			root, rerr := log.RootAt(n.Size)
			if rerr != nil {
				return n, shown, failed, rerr
			}
			if root != n.Root {
				return n, shown, failed, &sandbox.Error{Op: "log: open", Kind: sandbox.Tampered, Object: "log",
					Detail: fmt.Sprintf("witness %s has signed another tree of %d entries: the log was forked", c.Name, n.Size), Hint: "bring back the newest copy of the whole folder"}
			}
			if n.Size >= newest.Size {
				newest = n
			}
		}
	}
	return newest, shown, failed, nil
}
