package psi

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Subject (登记对象) is what a ledger entry is about.
type Subject string

// The subjects.
const (
	OfSet          Subject = "set"          // 求交集合: a set that goes into a job: who sees it says so, its owner or the agency that certifies
	OfIntersection Subject = "intersection" // 交集: what a job found, where the judging side sees it
	OfLookups      Subject = "lookups"      // 单条查询: single lookups, reserved in blocks
	OfRows         Subject = "rows"         // 逐人记录: what a set's people have in a job's table; counted where the set is
)

// Limits (求交限额) of a ledger. Zero values refuse everything but Similarity, which must be above 0 and at most 1.
type Limits struct {
	Set        int           // elements of one set
	Jobs       int           // of one partner in a window
	Elements   int64         // of one partner in a window, all its sets or lookups together
	Window     time.Duration // 窗口
	Similarity float64       // 近似重复: a set or intersection this like an earlier one is refused; the Jaccard index, of sketches where sets are large
	Differ     int           // 差异下限: so is one that may differ from it in only so many elements on either side; 0 for none
	Same       bool          // 原样放行: exactly an earlier one passes, where what it is asked with is compared by whom it belongs to
}

// like gives the similarity from which a set of n elements is too near an earlier one. What a sketch tells of a large set is no finer than 0.95.
func (l *Limits) like(n int) float64 {
	like := l.Similarity
	if l.Differ > 0 {
		like = min(like, max(float64(n-l.Differ)/float64(n+l.Differ), 0.01))
		if n > sketchSize {
			like = min(like, 0.95)
		}
	}
	return like
}

// Ledger (求交台账) says which jobs may run, and keeps what it let pass in a folder: one file an entry, each whole or not at all,
// durable before Admit returns. Sets are kept as sketches under a key, never as elements. It compares with the entries of all partners:
// they may work together. Restoring an older folder is for the domain's checkpoints to find; Head is what goes into them.
//
// It cannot see a peer's set: near-repeats of what a partner asks about are found where somebody sees it: by the agency that certifies
// or audits (OfSet), or in what a job found (OfIntersection). Safe for concurrent use in one process; the caller holds the folder.
type Ledger struct {
	fs     durable.FS
	dir    string
	mac    *sm.MAC
	limits Limits

	mu      sync.Mutex
	keyed   bool // the folder says which key it is kept under
	entries []entry
	head    [sm.Size]byte
}

// entry is one file.
type entry struct {
	Partner sandbox.PartyID `json:"partner"`
	Subject Subject         `json:"subject"`
	At      time.Time       `json:"at"`
	Size    int64           `json:"size"`
	Lowest  []uint64        `json:"lowest,omitempty"`
	Sum     uint64          `json:"sum,omitempty"` // of all keyed hashes: a sketch alone cannot tell that two large sets are one
}

// OpenLedger reads a folder, made where there is none. key, of 16 bytes or more, is the sketches' and stays the same: Denied under another than the
// folder was begun under, since a set would be compared with none of the earlier ones. It writes nothing. files nil are the machine's.
func OpenLedger(files durable.FS, dir string, key []byte, limits Limits) (*Ledger, error) {
	if files == nil {
		files = durable.OS()
	}
	if limits.Similarity <= 0 || limits.Similarity > 1 || limits.Window < 0 || limits.Differ < 0 {
		return nil, &sandbox.Error{Op: "psi: ledger", Kind: sandbox.Invalid, Object: "limits", Detail: "a similarity above 0, at most 1, and no negative window"}
	}
	mac, err := sm.NewMAC(key)
	if err != nil {
		return nil, err
	}
	l := &Ledger{fs: files, dir: dir, mac: mac, limits: limits}
	if err := files.MkdirAll(dir, 0o700); err != nil {
		return nil, l.disk(err)
	}
	for n := 0; ; n++ {
		b, err := durable.ReadFile(files, l.path(n))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, l.disk(err)
		}
		var e entry
		if err := json.Unmarshal(b, &e); err != nil || !slices.IsSorted(e.Lowest) || len(e.Lowest) > sketchSize || e.Size < 0 {
			return nil, &sandbox.Error{Op: "psi: ledger", Kind: sandbox.Tampered, Object: fmt.Sprintf("entry %d", n), Detail: "an entry as it was written"}
		}
		l.add(e, b)
	}
	// A gap would hide what is behind it.
	names, err := files.ReadDir(dir)
	if err != nil {
		return nil, l.disk(err)
	}
	count := 0
	for _, f := range names {
		if filepath.Ext(f.Name()) == ".json" {
			count++
		}
	}
	if count != len(l.entries) {
		return nil, &sandbox.Error{Op: "psi: ledger", Kind: sandbox.Tampered, Object: fmt.Sprintf("entry %d", len(l.entries)), Detail: "entries are numbered without a gap"}
	}
	if err := l.sameKey(); err != nil {
		return nil, err
	}
	return l, nil
}

// keyFile says, without telling the key, under which one a ledger is kept. It comes with the first entry, or with the next where the folder is older.
const keyFile = "key.check"

func (l *Ledger) keyCheck() []byte {
	var sum [32]byte
	text := []byte("opdomain/psi/ledger/key/v1")
	l.mac.Rows(sum[:], len(sum), []int32{0, int32(len(text))}, text)
	return []byte(hex.EncodeToString(sum[:]))
}

func (l *Ledger) sameKey() error {
	b, err := durable.ReadFile(l.fs, filepath.Join(l.dir, keyFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return l.disk(err)
	case !bytes.Equal(b, l.keyCheck()):
		return &sandbox.Error{Op: "psi: ledger", Kind: sandbox.Denied, Object: "key", Detail: "a ledger is opened under the key that it was begun under: under another, nothing would be compared with what it holds",
			Hint: "name the key's file of this ledger; who has lost it begins a new folder and keeps the old one"}
	}
	l.keyed = true
	return nil
}

// Extent (台账范围) gives the number of entries, when the newest was written, and whether the key is known to be the ledger's: of a folder older than
// that check it is not before the next entry.
func (l *Ledger) Extent() (entries int, newest time.Time, keyed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if entries = len(l.entries); entries > 0 {
		newest = l.entries[entries-1].At
	}
	return entries, newest, l.keyed
}

func (l *Ledger) path(n int) string { return filepath.Join(l.dir, fmt.Sprintf("%010d.json", n)) }

func (l *Ledger) disk(err error) error {
	return &sandbox.Error{Op: "psi: ledger", Kind: sandbox.Unavailable, Object: "folder", Err: err}
}

func (l *Ledger) add(e entry, b []byte) {
	l.entries = append(l.entries, e)
	l.head = sm.Sum(l.head[:], b)
}

// Head gives a running SM3 over all entries.
func (l *Ledger) Head() [sm.Size]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// Admit decides on one job of a partner and writes it down. A refusal is a Decision with its reasons; the error is of the disk, or
// Conflict where the clock stands before the last entry. What a refusal for similarity says depends on data: it is for the owner of
// the set and the agency, and an asker who does not own it gets sandbox.CodeWithheld instead.
func (l *Ledger) Admit(partner sandbox.PartyID, subject Subject, s *Sketch, now time.Time) (sandbox.Decision, error) {
	return l.admit(entry{Partner: partner, Subject: subject, At: now.UTC(), Size: int64(s.size), Lowest: s.lowest, Sum: s.sum})
}

// Would gives the decision that Admit would give, and writes nothing: for what comes before there is a peer to count a job with.
func (l *Ledger) Would(partner sandbox.PartyID, subject Subject, s *Sketch, now time.Time) sandbox.Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.reasons(&entry{Partner: partner, Subject: subject, At: now.UTC(), Size: int64(s.size), Lowest: s.lowest, Sum: s.sum})
	return sandbox.Decision{Allow: len(r) == 0, Reasons: r}
}

// Reserve decides on n single lookups of a partner and writes them down; what is not used is lost.
func (l *Ledger) Reserve(partner sandbox.PartyID, n int, now time.Time) (sandbox.Decision, error) {
	return l.admit(entry{Partner: partner, Subject: OfLookups, At: now.UTC(), Size: int64(max(n, 1))})
}

func (l *Ledger) admit(e entry) (sandbox.Decision, error) {
	if err := sandbox.CheckID("partner", string(e.Partner)); err != nil {
		return sandbox.Decision{}, err
	}
	if e.Subject != OfSet && e.Subject != OfIntersection && e.Subject != OfLookups && e.Subject != OfRows {
		return sandbox.Decision{}, &sandbox.Error{Op: "psi: ledger", Kind: sandbox.Invalid, Object: "subject", Detail: "one of the known subjects"}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.entries); n > 0 && e.At.Before(l.entries[n-1].At) {
		return sandbox.Decision{}, &sandbox.Error{Op: "psi: ledger", Kind: sandbox.Conflict, Object: "clock", Detail: "the clock stands before the last entry"}
	}
	if r := l.reasons(&e); len(r) > 0 {
		return sandbox.Decision{Reasons: r}, nil
	}
	b, err := json.Marshal(e)
	if err != nil {
		return sandbox.Decision{}, l.disk(err)
	}
	if !l.keyed {
		if err := durable.ReplaceIn(l.fs, filepath.Join(l.dir, keyFile), l.keyCheck()); err != nil {
			return sandbox.Decision{}, l.disk(err)
		}
		l.keyed = true
	}
	if err := durable.ReplaceIn(l.fs, l.path(len(l.entries)), b); err != nil {
		return sandbox.Decision{}, l.disk(err)
	}
	l.add(e, b)
	return sandbox.Decision{Allow: true}, nil
}

func (l *Ledger) reasons(e *entry) (out []sandbox.Reason) {
	if e.Subject != OfLookups && e.Size > int64(l.limits.Set) {
		out = append(out, sandbox.Reason{Code: "psi.set-too-large", Rule: "a set has at most as many elements as the limit says",
			Change: fmt.Sprintf("a set of at most %d elements", l.limits.Set)})
	}
	counted := e.Subject == OfSet || e.Subject == OfLookups // the others are, where their set was
	jobs, used := 0, int64(0)
	var oldest time.Time
	for _, old := range l.entries {
		if old.Partner == e.Partner && old.Subject == e.Subject && counted && e.At.Sub(old.At) < l.limits.Window {
			if jobs == 0 {
				oldest = old.At
			}
			jobs++
			used += old.Size
		}
	}
	later := "a longer window or a higher quota"
	if jobs > 0 {
		later = "the same job after " + oldest.Add(l.limits.Window).Format(time.RFC3339)
	}
	if e.Subject == OfSet && jobs >= l.limits.Jobs {
		out = append(out, sandbox.Reason{Code: "psi.jobs-quota", Rule: "a partner's jobs in one window are within its quota", Change: later})
	}
	if counted && (e.Size > l.limits.Elements || used > l.limits.Elements-e.Size) {
		out = append(out, sandbox.Reason{Code: "psi.elements-quota", Rule: "a partner's elements in one window are within its quota",
			Change: fmt.Sprintf("at most %d elements now, or %s", max(l.limits.Elements-used, 0), later)})
	}
	if e.Subject == OfLookups {
		return out
	}
	s := Sketch{int(e.Size), e.Lowest, e.Sum}
	for _, old := range l.entries {
		if old.Subject != e.Subject || l.limits.Same && e.Sum != 0 && e.Sum == old.Sum && e.Size == old.Size && slices.Equal(e.Lowest, old.Lowest) {
			continue
		}
		if s.Similarity(&Sketch{int(old.Size), old.Lowest, old.Sum}) >= l.limits.like(int(e.Size)) {
			return append(out, sandbox.Reason{Code: "psi.near-repeat", Rule: "no set is nearly one that was asked about before: the difference of two answers is an answer about their difference",
				Change: "the earlier result, or a set that differs in more elements"})
		}
	}
	return out
}

// Judge gives what Config.Judge takes: the intersection, whose elements are rows of set, is admitted or withheld. It is for plans
// whose judge learns the members: IntersectionBoth.
func (l *Ledger) Judge(partner sandbox.PartyID, set Set, now func() time.Time) func(Finding) (bool, error) {
	return func(f Finding) (bool, error) {
		if f.Members == nil {
			return false, &sandbox.Error{Op: "psi: ledger", Kind: sandbox.Invalid, Object: "plan", Detail: "the judging side learns the members"}
		}
		d, err := l.Admit(partner, OfIntersection, l.sketch(set, f.Members), now())
		return d.Allow, err
	}
}

// Format keeps the key out of every verb.
func (*Ledger) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "psi ledger(redacted)") }
