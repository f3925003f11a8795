package tlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// A tile holds tileWidth hashes of one level of the tree, tileHeight levels of it by implication.
// SPEC: C2SP tlog-tiles, "Merkle Tree".
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	tileBytes  = tileWidth * sm.Size
)

// tilePath names a full tile: groups of three digits, all but the last after an x.
func tilePath(kind string, n uint64) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	return filepath.Join("tile", kind, filepath.FromSlash(path))
}

func levelName(level int) string { return fmt.Sprint(level) }

// entriesKind are the bundles of entries beside the tiles of hashes.
const entriesKind = "entries"

// tiles are the hashes of the tree: full tiles on the disk, the unfinished one of every level in memory.
type tiles struct {
	fs   durable.FS
	dir  string
	edge [][]hash // by level of tiles, fewer than tileWidth each
	size uint64

	entries []hash          // of the unfinished bundle
	fresh   map[string]bool // files written and not synced yet
	last    cached
}

// cached is the tile read last.
type cached struct {
	level  int
	index  uint64
	hashes []hash
}

// append adds a leaf. A tile that fills is written, not synced: the records bring it back until settle.
func (t *tiles) append(entry hash) error {
	t.entries = append(t.entries, entry)
	if err := t.add(0, hash(hasher{}.HashLeaf(entry[:]))); err != nil {
		return err
	}
	t.size++
	if len(t.entries) < tileWidth {
		return nil
	}
	b := make([]byte, 0, tileWidth*(2+sm.Size))
	for _, e := range t.entries {
		b = append(append(b, 0, sm.Size), e[:]...)
	}
	t.entries = t.entries[:0]
	return t.write(tilePath(entriesKind, t.size/tileWidth-1), b)
}

func (t *tiles) add(level int, h hash) error {
	if level == len(t.edge) {
		t.edge = append(t.edge, nil)
	}
	t.edge[level] = append(t.edge[level], h)
	if len(t.edge[level]) < tileWidth {
		return nil
	}
	full := t.edge[level]
	b := make([]byte, 0, tileBytes)
	for _, h := range full {
		b = append(b, h[:]...)
	}
	// Its number at this level: how many the level above has seen.
	index := (t.size+1)>>(tileHeight*(level+1)) - 1
	if err := t.write(tilePath(levelName(level), index), b); err != nil {
		return err
	}
	up := fold(full, tileHeight)
	t.edge[level] = full[:0:0]
	return t.add(level+1, up)
}

// fold gives the hash over 2^levels hashes.
func fold(hashes []hash, levels int) hash {
	row := append([]hash(nil), hashes[:1<<levels]...)
	for ; levels > 0; levels-- {
		for i := range len(row) / 2 {
			row[i] = hash(hasher{}.HashChildren(row[2*i][:], row[2*i+1][:]))
		}
		row = row[:len(row)/2]
	}
	return row[0]
}

func (t *tiles) write(path string, b []byte) error {
	name := filepath.Join(t.dir, path)
	f, err := t.fs.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		if err = t.fs.MkdirAll(filepath.Dir(name), 0o700); err == nil {
			f, err = t.fs.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		}
	}
	if err != nil {
		return unavailable("append", path, err)
	}
	_, err = f.Write(b)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return unavailable("append", path, err)
	}
	t.fresh[path] = true
	t.last = cached{}
	return nil
}

// settle makes every tile written since the last settle durable, and the folders above them.
func (t *tiles) settle() error {
	dirs := map[string]bool{}
	for path := range t.fresh {
		f, err := t.fs.OpenFile(filepath.Join(t.dir, path), os.O_RDWR, 0)
		if err == nil {
			err = f.Sync()
			if cerr := f.Close(); err == nil {
				err = cerr
			}
		}
		if err != nil {
			return unavailable("append", path, err)
		}
		for d := filepath.Dir(path); ; d = filepath.Dir(d) {
			dirs[d] = true
			if d == "." {
				break
			}
		}
	}
	for d := range dirs {
		if err := t.fs.SyncDir(filepath.Join(t.dir, d)); err != nil {
			return unavailable("append", d, err)
		}
	}
	clear(t.fresh)
	return nil
}

// tile reads a full tile.
func (t *tiles) tile(level int, index uint64) ([]hash, error) {
	if t.last.hashes != nil && t.last.level == level && t.last.index == index {
		return t.last.hashes, nil
	}
	path := tilePath(levelName(level), index)
	b, err := durable.ReadFile(t.fs, filepath.Join(t.dir, path))
	if errors.Is(err, os.ErrNotExist) || err == nil && len(b) != tileBytes {
		return nil, &sandbox.Error{Op: "log: read", Kind: sandbox.Tampered, Object: filepath.ToSlash(path), Detail: "the tile is missing or cut off", Hint: "restore the log folder from a backup"}
	}
	if err != nil {
		return nil, unavailable("read", path, err)
	}
	out := make([]hash, tileWidth)
	for i := range out {
		out[i] = hash(b[i*sm.Size:])
	}
	t.last = cached{level, index, out}
	return out, nil
}

// node gives the hash of a perfect subtree.
func (t *tiles) node(id compact.NodeID) (hash, error) {
	level, inside := int(id.Level)/tileHeight, int(id.Level)%tileHeight
	at := id.Index << inside // of the first hash below it at the tile's level
	index, from := at/tileWidth, at%tileWidth
	var row []hash
	if full := t.size >> (tileHeight * level) / tileWidth; index < full {
		var err error
		if row, err = t.tile(level, index); err != nil {
			return hash{}, err
		}
	} else if level < len(t.edge) {
		row = t.edge[level]
	}
	if uint64(len(row)) < from+1<<inside {
		return hash{}, &sandbox.Error{Op: "log: read", Kind: sandbox.Internal, Object: "tree", Detail: "a node beyond the tree"}
	}
	return fold(row[from:], inside), nil
}

func (t *tiles) nodes(ids []compact.NodeID) ([][]byte, error) {
	out := make([][]byte, len(ids))
	for i, id := range ids {
		h, err := t.node(id)
		if err != nil {
			return nil, err
		}
		out[i] = h[:]
	}
	return out, nil
}

// root gives the root over the first size leaves.
func (t *tiles) root(size uint64) (hash, error) {
	if size == 0 {
		return hash(hasher{}.EmptyRoot()), nil
	}
	hashes, err := t.nodes(compact.RangeNodes(0, size, nil))
	if err != nil {
		return hash{}, err
	}
	r, err := (&compact.RangeFactory{Hash: hasher{}.HashChildren}).NewRange(0, size, hashes)
	if err != nil {
		return hash{}, err
	}
	b, err := r.GetRootHash(nil)
	if err != nil {
		return hash{}, err
	}
	return hash(b), nil
}

// resume brings the edge to a size that fills whole segments, from the tiles of one level below.
func (t *tiles) resume(size uint64) error {
	t.size, t.edge, t.entries = size, nil, nil
	for level := 0; size>>(tileHeight*level) > 0; level++ {
		have := size >> (tileHeight * level) % tileWidth
		row := make([]hash, 0, tileWidth)
		for k := range have {
			at := size>>(tileHeight*level) - have + k
			full, err := t.tile(level-1, at)
			if err != nil {
				return err
			}
			row = append(row, fold(full, tileHeight))
		}
		t.edge = append(t.edge, row)
	}
	return nil
}

// leaf gives the hash of leaf i. Callers hold mu.
func (l *Log) leaf(i uint64) (hash, error) {
	return l.tiles.node(compact.NodeID{Level: 0, Index: i})
}

func (l *Log) prove(n proof.Nodes) ([][]byte, error) {
	nodes, err := l.tiles.nodes(n.IDs)
	if err != nil {
		return nil, err
	}
	return n.Rehash(nodes, hasher{}.HashChildren)
}
