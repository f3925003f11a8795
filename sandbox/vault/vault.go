// Package vault keeps dataset versions as sealed column files, clustered by protected subject (密封列存).
//
// # Folder
//
//	<dataset>/HEAD            JSON: dataset, version, key, SM3 of the manifest file; replaced whole: this is the commit
//	<dataset>/HEAD.tmp        the next HEAD, written before its version's folder appears; removed at Open
//	<dataset>/runs/<run>      JSON: the version a run became
//	<dataset>/v<version>/     one folder per committed version
//	    key                   JSON: ids of the version's key and run, held to the manifest that opens under the key
//	    manifest              sealed JSON: run, unit, grade, rows, batches, columns with types and file ids
//	    <n>.col               the n-th column; the pseudonyms are the last one, "_subject"
//	    statistics            sealed JSON: by batch the first and last pseudonym and the number of subjects; by column nulls, bounds, few texts
//	<dataset>/v<version>.gone JSON: dataset, version, key and run of a version whose files were collected
//	<dataset>/stage-<run>/    a run in progress, also after a restart
//	    key                   as above
//	    stage                 sealed JSON: schema, input batches that are durable, runs
//	    <n>.run               rows in the order of their pseudonyms
//	.spill/<job>-<n>          what a job could not keep in memory, sealed under a key that only its process has; nameless
//	                          where the system allows, removed at Open
//
// # Sealed file
//
//	offset  size  field
//	0       4     magic "ODV1"
//	4       2     format 1, big endian
//	6       2     suite 1: SM4-GCM, key by HKDF-SM3 from the version key, dataset, version, column and file id
//	8       1     chunk size as a power of two, 16
//	9       7     zero
//	16      16    random file id
//	32      32    SM3 over dataset, version, column and key id, each after its length
//	64      …     chunks of 64 KiB plaintext + 16 bytes tag, the last one shorter, possibly empty
//
// The header is associated data of every chunk; the nonce is the chunk's index (8 bytes), three zeros and a last flag
// (STREAM: Hoang, Reyhanitabar, Rogaway, Vizár 2015). Opening authenticates the last chunk first, so a truncated file fails
// before any of it is used; a chunk or file moved anywhere else fails too. The plaintext of a column file is, per record
// batch, a uint64 length, little endian, and the one-column batch, encoded (package batch) or, where that is shorter, packed;
// its magic says which, so that versions from before batches were packed open as they are. Of a run file it is the same with all
// columns, never packed.
//
// # Packed batch
//
// Opening bytes is what bounds a scan, so texts that come again are stored once a batch with a code a row (字典编码), numbers
// and dates as what they are above the least of their batch (frame of reference), pseudonyms once for each run of rows. The
// layout is in pack.go. A code has whole bytes, which widen without shifts; fewer bits were not tried.
//
// # Writing
//
// Rows gather in memory up to Config.SortBytes, are sorted by pseudonym and sealed as a run, which is a durable point; the
// commit merges the runs, 64 at once, so that a version holds each subject's rows together, in the order they arrived, and
// never over two batches unless they fill one. Rows that come in that order are not sorted. What does not fit in memory is
// sealed twice; a version written in place and sorted when read was tried on paper only: every reader would pay.
//
// Promises: a reader opens only the columns it names, each under its own key, for one subject only the batches that may
// hold it, and of those a question's filters speak of none that the statistics show to hold no row that passes; a crash at any point leaves the old or the new version, and what a stage called durable; a run id commits once,
// also after its version's key was destroyed. One process opens a folder at a time.
//
// Errors are Tampered naming dataset, version, column and chunk; Expired for a version whose key was destroyed; Conflict for
// a repeated run, one that is being written, and one that another run's commit has overtaken; Unavailable for the disk;
// TooLarge when only the disk's Reserve is left: sealed files stop there, all else goes on.
// Sizes and numbers of files, hence about how many rows a version has, can be seen without a key. A folder put back whole
// to an older state opens: who knows the version that was committed last gives Check its manifest digest. Not here: removing
// versions whose key lives, re-encrypting under a new key, erasing opened batches from memory: they are left to the
// garbage collector.
package vault

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"golang.org/x/sync/errgroup"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
)

// SubjectColumn is the internal column of pseudonyms beside the declared ones.
const SubjectColumn = "_subject"

const (
	headFile   = "HEAD"
	nextFile   = "HEAD.tmp"
	stageName  = "stage-"
	runsDir    = "runs"
	goneSuffix = ".gone"
)

// Keys (版本密钥) is what the vault needs of a key vault. VersionKey gives NotFound for a key that was destroyed; Discard removes
// one that sealed nothing that was kept.
type Keys interface {
	NewVersionKey(keys.Version) (*keys.Key, error)
	VersionKey(sandbox.KeyID) (*keys.Key, error)
	Discard(sandbox.KeyID) error
}

// Config (密封库参数) says where a vault is and what it may use. Zero values stand where noted.
type Config struct {
	FS        durable.FS // nil: the machine's
	Dir       string
	Keys      Keys
	Rand      io.Reader
	Mem       memory.Allocator // nil: Go's
	SortBytes int64            // rows of one writer held in memory, about; 0: 128 MiB
	Space     durable.Space    // of the folder's disk, whose Reserve is kept; nil: rows may fill it
}

// Vault (密封库) is an open folder of datasets. Safe for concurrent use, as the keys and the randomness given to Open must be.
type Vault struct {
	fs        durable.FS
	dir       string
	keys      Keys
	rand      io.Reader
	mem       memory.Allocator
	sortBytes int64
	space     durable.Space

	swapping   sync.RWMutex // held for writing while nothing may change
	committing sync.Mutex   // one commit compares and swaps at a time
	mu         sync.Mutex
	writing    map[claimed]bool
}

// claimed is a run that a writer has.
type claimed struct {
	dataset sandbox.DatasetID
	run     sandbox.RunID
}

// runVersion is the file of a run in the index.
type runVersion struct {
	Run     sandbox.RunID `json:"run"`
	Version uint64        `json:"version"`
}

type head struct {
	Dataset  sandbox.DatasetID `json:"dataset"`
	Version  uint64            `json:"version"`
	Key      sandbox.KeyID     `json:"key"`
	Manifest string            `json:"manifest"`
}

// Open opens a vault folder on the machine's disk with the defaults.
func Open(dir string, k Keys, rand io.Reader) (*Vault, error) {
	return OpenConfig(Config{Dir: dir, Keys: k, Rand: rand})
}

// OpenConfig opens a vault folder, making it if absent, takes back commits that a crash stopped, and removes what is no stage.
// Stages stay, to be resumed or dropped. A HEAD that was changed, or version folders that neither HEAD nor an unfinished
// commit accounts for, are Tampered and nothing is removed.
func OpenConfig(c Config) (*Vault, error) {
	if c.FS == nil {
		c.FS = durable.OS()
	}
	if c.Mem == nil {
		c.Mem = memory.NewGoAllocator()
	}
	if c.SortBytes == 0 {
		c.SortBytes = 128 << 20
	}
	if err := c.FS.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, unavailable("open", c.Dir, err)
	}
	v := &Vault{fs: c.FS, dir: c.Dir, keys: c.Keys, rand: c.Rand, mem: c.Mem, sortBytes: c.SortBytes, space: c.Space, writing: map[claimed]bool{}}
	if err := v.swept(); err != nil {
		return nil, err
	}
	ids, err := v.Datasets()
	if err != nil {
		return nil, err
	}
	var all errgroup.Group
	all.SetLimit(openedAtOnce)
	for _, d := range ids {
		all.Go(func() error { return v.recover(d) })
	}
	if err := all.Wait(); err != nil {
		return nil, err
	}
	return v, nil
}

// openedAtOnce is how many datasets are looked at side by side when a vault opens: each costs a dozen calls to the file system,
// and nothing of one concerns another.
const openedAtOnce = 8

// Dir gives the vault's folder.
func (v *Vault) Dir() string { return v.dir }

// Freeze keeps every version and HEAD as they are until the function it gives is called: a copy of the folder made meanwhile
// is of one moment, stages apart.
func (v *Vault) Freeze() (release func()) {
	v.swapping.Lock()
	return v.swapping.Unlock
}

// recover takes back the commit that a crash stopped: its version becomes a stage again, then its announcement goes. Then
// leftovers of a finished commit and of stages that never were are removed.
func (v *Vault) recover(d sandbox.DatasetID) error {
	dir := filepath.Join(v.dir, string(d))
	extra, err := v.extra(d)
	if err != nil {
		return err
	}
	fail := func(err error) error { return unavailable("open", string(d), err) }
	for _, name := range extra {
		var k versionKey
		b, err := durable.ReadFile(v.fs, filepath.Join(dir, name, keyFile))
		if err == nil && strict(b, &k) == nil && sandbox.CheckID("run", string(k.Run)) == nil {
			// A file system may show a folder under its old name too after a crash: the new one has all of it.
			if err = v.fs.RemoveAll(filepath.Join(dir, stageDir(k.Run))); err == nil {
				err = v.fs.Rename(filepath.Join(dir, name), filepath.Join(dir, stageDir(k.Run)))
			}
		} else {
			err = v.fs.RemoveAll(filepath.Join(dir, name))
		}
		if err != nil {
			return fail(err)
		}
	}
	if len(extra) > 0 {
		if err := v.fs.SyncDir(dir); err != nil {
			return fail(err)
		}
	}
	for _, name := range []string{nextFile, nextFile + ".tmp", headFile + ".tmp.tmp"} {
		if err := v.fs.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fail(err)
		}
	}
	if h, err := v.head(d); err == nil {
		if err := v.untidied(v.versionPath(d, h.Version)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fail(err)
		}
	}
	entries, err := v.fs.ReadDir(dir)
	if err != nil {
		return fail(err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), stageName):
			// Without a manifest it was never told to anybody.
			if _, err := v.fs.Stat(filepath.Join(path, stageFile)); !errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err := v.fs.RemoveAll(path); err != nil {
				return fail(err)
			}
		case strings.HasSuffix(e.Name(), goneSuffix): // a collection that a crash stopped
			name := strings.TrimSuffix(e.Name(), goneSuffix)
			n, ok := versionOf(name)
			if !ok {
				continue
			}
			// The name alone says nothing: the tombstone must be this version's, and its key destroyed.
			if _, ok := v.gone(v.versionPath(d, n), d, n); !ok {
				continue
			}
			if err := v.fs.RemoveAll(v.versionPath(d, n)); err != nil {
				return fail(err)
			}
		}
	}
	return v.indexed(d)
}

// indexed removes entries of the index that a crash left for versions that never were.
func (v *Vault) indexed(d sandbox.DatasetID) error {
	h, err := v.head(d)
	if err != nil && !errors.Is(err, sandbox.NotFound) {
		return err
	}
	dir := filepath.Join(v.dir, string(d), runsDir)
	entries, err := v.fs.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return unavailable("open", string(d), err)
	}
	if uint64(len(entries)) <= h.Version { // as many as versions: nothing to look for
		return nil
	}
	for _, e := range entries {
		var r runVersion
		b, err := durable.ReadFile(v.fs, filepath.Join(dir, e.Name()))
		if err == nil && strict(b, &r) == nil && r.Version <= h.Version {
			continue
		}
		if err := v.fs.Remove(filepath.Join(dir, e.Name())); err != nil {
			return unavailable("open", string(d), err)
		}
	}
	return nil
}

// extra gives the folder of an unfinished commit, which is the version after HEAD and announced by HEAD.tmp. Any other
// version beyond HEAD means that HEAD was put back or lost, which must not cost the data.
func (v *Vault) extra(d sandbox.DatasetID) ([]string, error) {
	h, err := v.head(d)
	if err != nil && !errors.Is(err, sandbox.NotFound) {
		return nil, err
	}
	b, err := durable.ReadFile(v.fs, filepath.Join(v.dir, string(d), nextFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, unavailable("open", string(d), err)
	}
	var next head
	announced := err == nil && strict(b, &next) == nil && next.Dataset == d && next.Version == h.Version+1
	entries, err := v.fs.ReadDir(filepath.Join(v.dir, string(d)))
	if err != nil {
		return nil, unavailable("open", string(d), err)
	}
	var out []string
	for _, e := range entries {
		n, ok := versionOf(e.Name())
		switch {
		case !ok || n <= h.Version:
		case announced && n == next.Version:
			out = append(out, e.Name())
		default:
			return nil, &sandbox.Error{Op: "vault: open", Kind: sandbox.Tampered, Object: string(d) + " " + headFile,
				Detail: fmt.Sprintf("version %d exists, the head is at %d: an older head was put back, or it was lost", n, h.Version),
				Hint:   "restore the dataset's folder from one backup"}
		}
	}
	return out, nil
}

func versionOf(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, "v")
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil && versionDir(n) == name
}

func versionDir(n uint64) string { return fmt.Sprintf("v%08d", n) }

func (v *Vault) versionPath(d sandbox.DatasetID, n uint64) string {
	return filepath.Join(v.dir, string(d), versionDir(n))
}

// Datasets lists the datasets that have a folder, in the order of their ids.
func (v *Vault) Datasets() ([]sandbox.DatasetID, error) {
	entries, err := v.fs.ReadDir(v.dir)
	if err != nil {
		return nil, unavailable("list", v.dir, err)
	}
	var out []sandbox.DatasetID
	for _, e := range entries {
		if e.IsDir() && sandbox.CheckID("dataset", e.Name()) == nil {
			out = append(out, sandbox.DatasetID(e.Name()))
		}
	}
	return out, nil
}

func (v *Vault) head(d sandbox.DatasetID) (head, error) {
	if err := sandbox.CheckID("dataset", string(d)); err != nil {
		return head{}, err
	}
	b, err := durable.ReadFile(v.fs, filepath.Join(v.dir, string(d), headFile))
	if errors.Is(err, os.ErrNotExist) {
		return head{}, &sandbox.Error{Op: "vault: head", Kind: sandbox.NotFound, Object: string(d), Detail: "no committed version"}
	}
	if err != nil {
		return head{}, unavailable("head", string(d), err)
	}
	var h head
	if err := strict(b, &h); err != nil || h.Dataset != d || h.Version == 0 {
		return head{}, &sandbox.Error{Op: "vault: head", Kind: sandbox.Tampered, Object: string(d) + " " + headFile, Detail: "not the head of this dataset"}
	}
	return h, nil
}

// Head opens the current version of a dataset; NotFound before the first commit.
func (v *Vault) Head(d sandbox.DatasetID) (Snapshot, error) {
	h, err := v.head(d)
	if err != nil {
		return Snapshot{}, err
	}
	return v.current(h)
}

// current opens the version that h names and holds it to what h says.
func (v *Vault) current(h head) (Snapshot, error) {
	s, err := v.open(v.versionPath(h.Dataset, h.Version), h.Dataset, h.Version)
	if err != nil {
		return s, err
	}
	if hex.EncodeToString(s.Manifest[:]) != h.Manifest || s.Key != h.Key {
		return Snapshot{}, &sandbox.Error{Op: "vault: head", Kind: sandbox.Tampered, Object: string(h.Dataset) + " " + headFile, Detail: "the manifest is not the one the head names"}
	}
	return s, nil
}

// Snapshot opens the description of one committed version; NotFound for one that was never committed.
func (v *Vault) Snapshot(d sandbox.DatasetID, version uint64) (Snapshot, error) {
	h, err := v.head(d)
	if err != nil {
		return Snapshot{}, err
	}
	switch {
	case version == h.Version:
		return v.current(h)
	case version == 0 || version > h.Version:
		return Snapshot{}, &sandbox.Error{Op: "vault: snapshot", Kind: sandbox.NotFound, Object: fmt.Sprintf("%s v%d", d, version), Detail: "no such version"}
	}
	return v.open(v.versionPath(d, version), d, version)
}

// Mark (当前版本标记) is what HEAD says of a dataset, read without opening anything.
type Mark struct {
	Version  uint64
	Key      sandbox.KeyID
	Manifest string // SM3 in hex
}

// Mark gives the current version of a dataset without opening it; NotFound before the first commit.
func (v *Vault) Mark(d sandbox.DatasetID) (Mark, error) {
	h, err := v.head(d)
	return Mark{h.Version, h.Key, h.Manifest}, err
}

// Committed finds the version that a run committed; NotFound if none. A version whose key was destroyed still counts: its
// Snapshot has no more than dataset, version, run and key, and cannot be scanned.
func (v *Vault) Committed(d sandbox.DatasetID, run sandbox.RunID) (Snapshot, error) {
	none := &sandbox.Error{Op: "vault: committed", Kind: sandbox.NotFound, Object: string(run), Detail: "this run committed nothing"}
	if err := sandbox.CheckID("run", string(run)); err != nil {
		return Snapshot{}, err
	}
	h, err := v.head(d)
	if err != nil {
		return Snapshot{}, err
	}
	b, err := durable.ReadFile(v.fs, filepath.Join(v.dir, string(d), runsDir, string(run)))
	if errors.Is(err, os.ErrNotExist) {
		return Snapshot{}, none
	}
	if err != nil {
		return Snapshot{}, unavailable("committed", string(d), err)
	}
	var r runVersion
	if strict(b, &r) != nil || r.Run != run {
		return Snapshot{}, &sandbox.Error{Op: "vault: committed", Kind: sandbox.Tampered, Object: string(d) + " " + runsDir, Detail: "the index of runs was changed"}
	}
	if r.Version > h.Version { // of a commit that a crash stopped
		return Snapshot{}, none
	}
	s, err := v.Snapshot(d, r.Version)
	if err != nil && !errors.Is(err, sandbox.Expired) {
		return Snapshot{}, err // whether this run was the one cannot be told
	}
	if s.Run != run { // of a commit that failed: another run became this version. That each version's run leads to it, Check sees
		return Snapshot{}, none
	}
	return s, nil
}

// canonical gives the one JSON form of a value.
func canonical(v any) ([]byte, error) { return json.Marshal(v) }

// strict reads the one JSON form of a value, so that no byte of a file is outside the check.
func strict(b []byte, into any) error {
	if err := json.Unmarshal(b, into); err != nil {
		return err
	}
	if again, err := json.Marshal(into); err != nil || !bytes.Equal(again, b) {
		return errors.New("not the canonical form")
	}
	return nil
}

func unavailable(op, object string, err error) error {
	e := &sandbox.Error{Op: "vault: " + op, Kind: sandbox.Unavailable, Object: object, Err: err}
	if durable.Full(err) {
		e.Detail, e.Hint = "the disk is full", "make room on the domain's disk"
	}
	return e
}
