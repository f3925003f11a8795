package attest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
)

func TestAuditOfAWholeLog(t *testing.T) {
	c := newCast(t)
	s := append(c.story(), step{name: "witnesses", kind: WitnessesSet, actor: DomainActor, body: c.witnesses(t, 2, "agency", "unit", "operator"), minute: 60})
	s[find(t, s, "no consent")].to = []string{"subject/person"}
	r := c.play(t, s)
	c.cosign(t, r, "agency", "unit")
	c.ring.destroy("subject/person")
	erased, unreadable := uint64(find(t, s, "ingest refused")), uint64(find(t, s, "no consent"))
	// What nobody can read and no event explains is a fault: it may be damage.
	if _, err := r.Audit(context.Background(), nil); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), entryName(unreadable)+": tampered: erasure") {
		t.Errorf("unexplained: %v", err)
	}
	p, err := r.prepareErased(start.Add(30*time.Hour), DomainActor, "order 1", []uint64{unreadable})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Append(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	if err := r.Erase(context.Background(), start.Add(31*time.Hour), DomainActor, "retention", erased); err != nil {
		t.Fatal(err)
	}
	var last, total, calls uint64
	rep, err := r.Audit(context.Background(), func(done, of uint64) {
		if done < last || done > of {
			t.Errorf("progress goes from %d to %d of %d", last, done, of)
		}
		last, total, calls = done, of, calls+1
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, k := range rep.Events {
		n += k
	}
	if rep.Erased != 1 || rep.Unreadable != 1 || rep.Hidden != 2 || rep.Entries != r.log.Size() || n != int(rep.Entries)-2 || rep.Events[EvidenceErased] != 2 || rep.Domain != "test" ||
		rep.Witnessed.Entries != uint64(len(s)) || len(rep.Witnessed.Signed) != 2 || !rep.Witnessed.Reached() || rep.Checks["event signature"] != n {
		t.Errorf("%+v", rep)
	}
	if last != 2*rep.Entries || total != last || calls < 3 {
		t.Errorf("%d of %d in %d calls", last, total, calls)
	}
	if b, err := json.Marshal(rep); err != nil || !bytes.Contains(b, []byte(`"unreadable":1`)) || !bytes.Contains(b, []byte(`"fingerprint"`)) {
		t.Errorf("%s, %v", b, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.Audit(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Each fault, with the place that the audit names.
func TestAuditNamesTheFirstFault(t *testing.T) {
	c := newCast(t)
	forged := func(t *testing.T, r *Recorder, text []byte) {
		t.Helper()
		names, keys, err := r.audienceKeys(nil)
		if err != nil {
			t.Fatal(err)
		}
		index, err := c.ring.AudienceKey(IndexAudience)
		if err != nil {
			t.Fatal(err)
		}
		salt := bytes.Repeat([]byte{7}, saltLen)
		entry := sm.HMAC(salt, text)
		stored, err := sealPayload(rand.Reader, entry, append(salt, text...), names, keys, index)
		if err == nil {
			_, err = r.Append(context.Background(), Prepared{Entry: entry, Payload: stored})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, x := range map[string]struct {
		damage func(t *testing.T, r *Recorder)
		want   string
	}{
		"a rule": {func(t *testing.T, r *Recorder) {
			if _, err := r.Record(context.Background(), start.Add(time.Hour), "stranger", "o", BundleExported, BundleExportedBody{}); err != nil {
				t.Fatal(err)
			}
		}, "evidence: audit entry 5 (bundle.exported): tampered: actor"},
		"not signed": {func(t *testing.T, r *Recorder) {
			e, err := r.Event(4)
			if err != nil {
				t.Fatal(err)
			}
			forged(t, r, bytes.Replace(e.Text, []byte("unit-civil"), []byte("unit-civic"), 1))
		}, "evidence: audit entry 5 (party.enrolled): tampered: event signature"},
		"another payload": {func(t *testing.T, r *Recorder) {
			p, err := r.Prepare(start.Add(time.Hour), DomainActor, "o", BundleExported, BundleExportedBody{})
			if err != nil {
				t.Fatal(err)
			}
			p.Entry = sm.Sum()
			if _, err := r.Append(context.Background(), p); err != nil {
				t.Fatal(err)
			}
		}, "entry 5: tampered: the payload is not what the entry hides"},
		"erased in silence": {func(t *testing.T, r *Recorder) {
			if err := r.log.Erase(context.Background(), 3); err != nil {
				t.Fatal(err)
			}
		}, "evidence: audit entry 3: tampered: erasure"},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.play(t, c.story()[:5])
			if _, err := r.Audit(context.Background(), nil); err != nil {
				t.Fatal(err)
			}
			x.damage(t, r)
			if _, err := r.Audit(context.Background(), nil); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), x.want) {
				t.Errorf("want %q, got %v", x.want, err)
			}
		})
	}
}

// Files changed on the disk, and a folder put back to an earlier state behind the witnesses' backs.
func TestAuditOfChangedFiles(t *testing.T) {
	c := newCast(t)
	open := func(t *testing.T, dir string) *Recorder {
		t.Helper()
		cfg := tlog.Config{Dir: dir, Origin: "opdomain/test", Key: c.domain, Rand: rand.Reader}
		log, err := tlog.Create(cfg)
		if errors.Is(err, sandbox.Conflict) {
			log, err = tlog.Open(cfg)
		}
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewRecorder(log, c.domain, c.ring, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		return r
	}
	first := func(t *testing.T, r *Recorder) {
		t.Helper()
		b := DomainCreatedBody{Domain: "test", Hosting: sandbox.P1, SignKey: c.domain.Public().Bytes()}
		if _, err := r.Record(context.Background(), start, DomainActor, "o", DomainCreated, b); err != nil {
			t.Fatal(err)
		}
		more(t, r, 300)
	}
	t.Run("tile", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "log")
		r := open(t, dir)
		first(t, r)
		if _, err := r.Audit(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		found, err := filepath.Glob(filepath.Join(dir, "tile", "entries", "*"))
		if err != nil || len(found) == 0 {
			t.Fatal(found, err)
		}
		b, err := os.ReadFile(found[0])
		if err != nil {
			t.Fatal(err)
		}
		b[40] ^= 1
		if err := os.WriteFile(found[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Audit(context.Background(), nil); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "tile/entries/") {
			t.Error(err)
		}
	})
	t.Run("put back", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "log")
		r := open(t, dir)
		first(t, r)
		older := filepath.Join(t.TempDir(), "older")
		if err := os.CopyFS(older, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		more(t, r, 1)
		c.cosign(t, r, "agency")
		note, err := os.ReadFile(filepath.Join(dir, "witnessed"))
		if err == nil {
			err = os.WriteFile(filepath.Join(older, "witnessed"), note, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		back := open(t, older)
		_, err = back.Audit(context.Background(), nil)
		_, err2 := back.Prove(0, false)
		err3 := back.WriteBundle(context.Background(), new(bytes.Buffer), "test", "auditor", everything)
		for _, err := range []error{err, err2, err3} {
			if !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "witnesses have signed a tree that is not a prefix") {
				t.Error(err)
			}
		}
	})
	t.Run("co-signature", func(t *testing.T) {
		s := []step{c.story()[0], {name: "witnesses", kind: WitnessesSet, actor: DomainActor, body: c.witnesses(t, 1, "agency"), minute: 1}}
		r := c.play(t, s)
		c.cosign(t, r, "agency")
		n, _, err := r.log.Witnessed()
		if err != nil {
			t.Fatal(err)
		}
		if n.Cosignatures[0], err = n.Cosign("agency", c.domain, start, rand.Reader); err != nil {
			t.Fatal(err)
		}
		if err := r.log.SetWitnessed(n); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Audit(context.Background(), nil); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "evidence: audit witness agency") {
			t.Error(err)
		}
	})
}
