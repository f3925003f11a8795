package share

// Open gives the values to every party. Under MaliciousAbort everything claimed before is checked first, and the missing part comes
// from both parties that hold it: a difference ends the session.
func (o *Opener) Open(x Vec) ([]uint64, error) {
	e := o.e
	e.Verify()
	if !e.begin(OpOpen, true, x.Len()) {
		return nil, e.err
	}
	v := e.open(x.a, x.b)
	if e.err != nil {
		return nil, e.err
	}
	out := make([]uint64, x.Len())
	for i := range out {
		out[i] = x.a[i] + x.b[i] + v[i]
	}
	return out, nil
}

// OpenWords is Open for words.
func (o *Opener) OpenWords(x Words) ([]uint64, error) {
	e := o.e
	e.Verify()
	if !e.begin(OpOpen, true, x.Len()) {
		return nil, e.err
	}
	v := e.open(x.a, x.b)
	if e.err != nil {
		return nil, e.err
	}
	out := make([]uint64, x.Len())
	for i := range out {
		out[i] = x.a[i] ^ x.b[i] ^ v[i]
	}
	return out, nil
}

// OpenFlags gives the bits, 64 in a word.
func (o *Opener) OpenFlags(f Flags) ([]uint64, error) { return o.OpenWords(Words{f.a, f.b}) }

// open gets the part that this party does not hold: x_(me+2), from the party after, and under MaliciousAbort from the party before too.
func (e *Engine) open(a, b []uint64) []uint64 {
	got := make([]uint64, len(a))
	if e.adversary == SemiHonest {
		e.pass(e.before(), b, e.after(), got)
		return got
	}
	if e.cheat != nil {
		a, b = append([]uint64(nil), a...), append([]uint64(nil), b...)
		e.cheat("open", b)
	}
	again := make([]uint64, len(a))
	e.both(b, a, again, got)
	for i := range got {
		if e.err == nil && got[i] != again[i] {
			e.accuse(-1, "both holders open the same part")
		}
	}
	return got
}
