package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/width"

	"github.com/opdomain/opdomain/sandbox"
)

// Query (目录检索) is what is searched for. Every word of Text must stand somewhere in a table's card: as a substring, of
// Chinese or other text, without regard to case and width; or, two letters or more, in the pinyin initials of its title. The
// other fields narrow; empty ones do not.
type Query struct {
	Text   string
	Unit   sandbox.PartyID
	Tag    string
	Origin Origin
	After  string // Hit.Cursor of the last one of the page before
	Limit  int    // 1 to MaxPage; 0: PageSize
}

// Hit (检索结果) is one table found. A table's score is the sum over the words of the best weight of a place where the word stands:
//
//	the whole title 64, the start of the title 32, inside the title 16, the id or the code 16, a tag 12,
//	the title or name of a column 8, the unit 6, the description or source 4, the initials of the title 3
//
// Higher scores come first, equal ones by id. Without words every table is found with score 0.
type Hit struct {
	ID    sandbox.DatasetID
	Score int
}

// Cursor names a hit's place in the order, for Query.After. The order is of scores and ids alone, so a table that is neither added
// nor changed between two pages is in exactly one of them, whatever else is.
func (h Hit) Cursor() string { return fmt.Sprintf("%d.%s", h.Score, h.ID) }

func parseCursor(s string) (Hit, error) {
	var h Hit
	score, id, ok := strings.Cut(s, ".")
	if !ok || len(score) > 9 || score == "" || !digits(score) || sandbox.CheckID("cursor", id) != nil {
		return h, badQuery("after", "the cursor of a hit, as a page of results gives it")
	}
	for _, c := range score {
		h.Score = h.Score*10 + int(c-'0')
	}
	h.ID = sandbox.DatasetID(id)
	return h, nil
}

func (h Hit) compare(o Hit) int {
	if c := cmp.Compare(o.Score, h.Score); c != 0 {
		return c
	}
	return cmp.Compare(h.ID, o.ID)
}

// Bounds of a query and a page.
const (
	MaxQuery = 200 // characters
	MaxWords = 8
	PageSize = 20
	MaxPage  = 200
)

func badQuery(at, rule string) error {
	return &sandbox.Error{Op: "catalog: search", Kind: sandbox.Invalid, Object: at, Detail: rule}
}

// Seen (可见性依据) is what decides whether a caller may see a card.
type Seen struct {
	Dataset  sandbox.DatasetID
	Unit     sandbox.PartyID
	Excluded bool // Card.Excluded
}

// Size gives the number of hits a full page has.
func (q Query) Size() int {
	if q.Limit == 0 {
		return PageSize
	}
	return q.Limit
}

// Index (目录索引) finds tables by their cards. It holds the words of descriptions in memory, never a value of the data, and is
// built when a domain is opened: bodies in the store are sealed, an index in the file would have to lay them open. A posting list
// per pair of neighbouring characters and per character narrows, a substring test decides. Safe for concurrent use.
type Index struct {
	mu       sync.RWMutex
	docs     []entry // slots, in order of insertion
	at       map[sandbox.DatasetID]int32
	postings map[uint64][]int32 // ascending slots
	dead     int
}

type entry struct {
	id     sandbox.DatasetID // empty: the slot is dead
	unit   sandbox.PartyID
	origin Origin
	out    bool // Card.Excluded
	tags   []string
	places [placeCount]string // folded; parts of one place are parted by \n
}

// Places of a card, with their weights in the order of placeWeight.
const (
	placeTitle = iota
	placeID
	placeTags
	placeColumns
	placeUnit
	placeWords
	placeInitials
	placeCount
)

var placeWeight = [placeCount]int{16, 16, 12, 8, 6, 4, 3}

// NewIndex gives an empty index.
func NewIndex() *Index {
	return &Index{at: map[sandbox.DatasetID]int32{}, postings: map[uint64][]int32{}}
}

// fold makes what is compared: compatibility forms composed, width folded, lower case.
func fold(s string) string {
	if ascii(s) {
		return strings.ToLower(s)
	}
	return strings.ToLower(norm.NFKC.String(width.Fold.String(s)))
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func newEntry(d *Dataset) entry {
	e := entry{id: d.ID, unit: d.Unit, origin: d.Card.Origin, out: d.Card.Excluded()}
	var cols []string
	for _, c := range d.Columns {
		cols = append(cols, c.Name)
		if c.Title != "" {
			cols = append(cols, c.Title)
		}
	}
	for _, t := range d.Card.Tags {
		e.tags = append(e.tags, fold(t))
	}
	title := fold(d.Title)
	e.places = [placeCount]string{title, fold(string(d.ID) + "\n" + d.Card.Code), strings.Join(e.tags, "\n"), fold(strings.Join(cols, "\n")),
		fold(string(d.Unit)), fold(d.Card.Description + "\n" + d.Card.Source), Initials(title)}
	return e
}

// grams calls f for every character and every pair of neighbours of s.
func grams(s string, f func(uint64)) {
	var last rune
	for _, r := range s {
		if r == '\n' {
			last = 0
			continue
		}
		f(uint64(r))
		if last != 0 {
			f(uint64(last)<<32 | uint64(r))
		}
		last = r
	}
}

// Put enters a dataset's card, or replaces it.
func (x *Index) Put(d *Dataset) {
	e := newEntry(d)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.remove(d.ID)
	x.insert(e)
}

// Remove takes a dataset out.
func (x *Index) Remove(id sandbox.DatasetID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.remove(id)
}

// Len gives the number of tables.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.at)
}

func (x *Index) insert(e entry) {
	slot := int32(len(x.docs))
	x.docs = append(x.docs, e)
	x.at[e.id] = slot
	for _, p := range e.places {
		grams(p, func(g uint64) {
			if list := x.postings[g]; len(list) == 0 || list[len(list)-1] != slot {
				x.postings[g] = append(list, slot)
			}
		})
	}
}

// remove leaves a dead slot; when most are dead the index is made anew.
func (x *Index) remove(id sandbox.DatasetID) {
	slot, ok := x.at[id]
	if !ok {
		return
	}
	delete(x.at, id)
	x.docs[slot] = entry{}
	if x.dead++; x.dead < 1024 || x.dead*2 < len(x.docs) {
		return
	}
	old := x.docs
	x.docs, x.dead, x.postings = nil, 0, map[uint64][]int32{}
	for _, e := range old {
		if e.id != "" {
			x.insert(e)
		}
	}
}

// Search gives a page of what sees lets through, and how many such tables were found in all.
func (x *Index) Search(q Query, sees func(Seen) bool) (page []Hit, total int, err error) {
	if utf8.RuneCountInString(q.Text) > MaxQuery {
		return nil, 0, badQuery("q", fmt.Sprintf("at most %d characters", MaxQuery))
	}
	words := strings.Fields(fold(q.Text))
	if len(words) > MaxWords {
		return nil, 0, badQuery("q", fmt.Sprintf("at most %d words", MaxWords))
	}
	if q.Limit = q.Size(); q.Limit < 1 || q.Limit > MaxPage {
		return nil, 0, badQuery("limit", fmt.Sprintf("1 to %d", MaxPage))
	}
	var after *Hit
	if q.After != "" {
		h, err := parseCursor(q.After)
		if err != nil {
			return nil, 0, err
		}
		after = &h
	}
	q.Tag = fold(q.Tag)
	x.mu.RLock()
	var found []Hit
	look := func(e *entry) {
		if e.id == "" || q.Unit != "" && e.unit != q.Unit || q.Origin != "" && e.origin != q.Origin || q.Tag != "" && !slices.Contains(e.tags, q.Tag) {
			return
		}
		if sees != nil && !sees(Seen{e.id, e.unit, e.out}) {
			return
		}
		if score, ok := e.score(words); ok {
			found = append(found, Hit{e.id, score})
		}
	}
	if slots, narrowed := x.candidates(words); narrowed {
		for _, s := range slots {
			look(&x.docs[s])
		}
	} else {
		for i := range x.docs {
			look(&x.docs[i])
		}
	}
	x.mu.RUnlock()
	slices.SortFunc(found, Hit.compare)
	total = len(found)
	if after != nil {
		i, ok := slices.BinarySearchFunc(found, *after, Hit.compare)
		if ok {
			i++
		}
		found = found[i:]
	}
	return found[:min(len(found), q.Limit)], total, nil
}

// candidates intersects the posting lists of every word, the rarest first.
func (x *Index) candidates(words []string) (slots []int32, narrowed bool) {
	var lists [][]int32
	seen := map[uint64]bool{}
	for _, w := range words {
		pair := utf8.RuneCountInString(w) > 1
		grams(w, func(g uint64) {
			if (g>>32 != 0) == pair && !seen[g] {
				seen[g] = true
				lists = append(lists, x.postings[g])
			}
		})
	}
	if len(lists) == 0 {
		return nil, false
	}
	slices.SortFunc(lists, func(a, b []int32) int { return cmp.Compare(len(a), len(b)) })
	slots = lists[0]
	for _, l := range lists[1:] {
		if len(slots) == 0 {
			break
		}
		slots = both(slots, l)
	}
	return slots, true
}

// both intersects a short ascending list with a longer one.
func both(short, long []int32) []int32 {
	out := make([]int32, 0, len(short))
	for _, s := range short {
		i, ok := slices.BinarySearch(long, s)
		if ok {
			out = append(out, s)
		}
		long = long[i:]
	}
	return out
}

func (e *entry) score(words []string) (sum int, ok bool) {
	for _, w := range words {
		best := 0
		for p, s := range e.places {
			if placeWeight[p] <= best || p == placeInitials && len(w) < 2 || !strings.Contains(s, w) {
				continue
			}
			best = placeWeight[p]
			if p == placeTitle {
				switch {
				case s == w:
					best = 64
				case strings.HasPrefix(s, w):
					best = 32
				}
			}
		}
		if best == 0 {
			return 0, false
		}
		sum += best
	}
	return sum, true
}
