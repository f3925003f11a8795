package file

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/opdomain/opdomain/sandbox"
)

// Encoding (字符编码) is the character encoding of a file.
type Encoding string

const (
	Detect  Encoding = ""        // 自动识别: told from the bytes, or refused
	UTF8    Encoding = "utf-8"   // with or without a byte order mark
	GB18030 Encoding = "gb18030" // GB 18030, of which GB 2312 and GBK are parts
)

// window is how much text from the first byte above 127 on decides the encoding.
const window = 64 << 10

var (
	markUTF8    = []byte{0xef, 0xbb, 0xbf}
	markGB18030 = []byte{0x84, 0x31, 0x95, 0x33}
)

// decoded gives r as UTF-8 without its byte order mark. Bytes that are not text in the chosen encoding come through as
// invalid UTF-8 or as U+FFFD; the row reader refuses both and can name the line.
func decoded(r io.Reader, name string, enc Encoding) (io.Reader, error) {
	br := bufio.NewReaderSize(r, window)
	head, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return nil, unreadable(name, err)
	}
	switch {
	case bytes.HasPrefix(head, markUTF8) && enc != GB18030:
		br.Discard(len(markUTF8))
		enc = UTF8
	case bytes.HasPrefix(head, markGB18030) && enc != UTF8:
		br.Discard(len(markGB18030))
		enc = GB18030
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}) || bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return nil, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: name + " line 1", Detail: "the byte order mark is UTF-16; a file is UTF-8 or GB 18030",
			Hint: "save it as \"CSV UTF-8\""}
	}
	switch enc {
	case UTF8:
		return br, nil
	case GB18030:
		return simplifiedchinese.GB18030.NewDecoder().Reader(br), nil
	case Detect:
		return &detector{in: br, name: name, line: 1}, nil
	}
	return nil, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: name, Detail: "encoding is utf-8, gb18030 or empty to detect it"}
}

// detector passes ASCII on, which is the same in both encodings, and decides at the first other byte. Deciding from the
// start of the file lost: a long ASCII head would have to be buffered or guessed from.
type detector struct {
	in   *bufio.Reader
	name string
	line int       // of the next byte
	last byte      // before it
	out  io.Reader // set once decided
}

func (d *detector) Read(p []byte) (int, error) {
	if d.out != nil {
		return d.out.Read(p)
	}
	if _, err := d.in.Peek(1); err != nil {
		return 0, err
	}
	b, _ := d.in.Peek(d.in.Buffered())
	if n := min(asciiPrefix(b), len(p)); n > 0 || len(p) == 0 {
		d.line += bytes.Count(b[:n], []byte{'\n'})
		d.last = b[max(n-1, 0)]
		copy(p, b[:n])
		d.in.Discard(n)
		return n, nil
	}
	b, err := d.in.Peek(window)
	if err != nil && err != io.EOF {
		return 0, err
	}
	switch encodingOf(d.last, b, err == io.EOF) {
	case UTF8:
		d.out = d.in
	case GB18030:
		d.out = simplifiedchinese.GB18030.NewDecoder().Reader(d.in)
	default:
		return 0, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: fmt.Sprintf("%s line %d", d.name, d.line),
			Detail: "the text reads both as UTF-8 and as GB 18030", Hint: "declare the file's encoding: --encoding utf-8, or --encoding gb18030"}
	}
	return d.out.Read(p)
}

func asciiPrefix(b []byte) int {
	for i, c := range b {
		if c >= utf8.RuneSelf {
			return i
		}
	}
	return len(b)
}

// encodingOf tells the encoding of text that starts at a byte above 127, behind the given one, or Detect if both fit. Where neither fits, the
// one that fits longer is taken, so that the error names the line of the first wrong byte.
func encodingOf(before byte, b []byte, whole bool) Encoding {
	u, wide, narrow := prefixUTF8(b, whole)
	g := prefixGB18030(b, whole)
	switch {
	case u < g:
		return GB18030
	case u > g || u < len(b):
		return UTF8
	}
	// Both fit. Several well-formed characters of three bytes, or many of two, are no accident of GB 18030. A few are: nearly one
	// everyday character in five is also a Latin, Greek or Cyrillic letter. Then UTF-8 wins if only
	// its reading is made of everyday characters, those of GB 2312. The reverse was tried and mistook rare characters.
	if wide >= 4 || narrow >= 8 {
		return UTF8
	}
	if wide == 0 && latin(before, b[:u]) {
		return UTF8
	}
	everydayUTF8, everydayGB := wide > 0, true
	enc := simplifiedchinese.GB18030.NewEncoder()
	for _, r := range string(b[:u]) {
		if r >= utf8.RuneSelf {
			c, err := enc.String(string(r))
			everydayUTF8 = everydayUTF8 && err == nil && len(c) == 2 && c[0] >= 0xa1 && c[1] >= 0xa1
		}
	}
	for n := 0; n < len(b); n++ {
		if b[n] >= utf8.RuneSelf {
			everydayGB = everydayGB && n+1 < len(b) && b[n] >= 0xa1 && b[n+1] >= 0xa1
			n++
		}
	}
	if everydayUTF8 && !everydayGB {
		return UTF8
	}
	return Detect
}

// latin says whether every character beyond ASCII is a Latin letter beside an ASCII one, and two of them stand inside words: as
// GB 18030 those would be Chinese characters inside English words. X光 and T恤 have their letter on one side only; one such
// character alone, A铆b, is not decided.
func latin(before byte, b []byte) bool {
	letter := func(i int) bool {
		c := before
		if i >= len(b) {
			return false
		} else if i >= 0 {
			c = b[i]
		}
		return c|0x20 >= 'a' && c|0x20 <= 'z'
	}
	inside := 0
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r >= utf8.RuneSelf {
			if r < 0xc0 || r > 0x17f || r == '×' || r == '÷' || !letter(i-1) && !letter(i+size) {
				return false
			}
			if letter(i-1) && letter(i+size) {
				inside++
			}
		}
		i += size
	}
	return inside >= 2
}

// prefixUTF8 gives the length of the well-formed start of b and its characters of three or more and of two bytes. A
// character cut off by the end of the window counts as well-formed.
func prefixUTF8(b []byte, whole bool) (n, wide, narrow int) {
	for n < len(b) {
		r, size := utf8.DecodeRune(b[n:])
		switch {
		case r == utf8.RuneError && size == 1:
			if !whole && !utf8.FullRune(b[n:]) {
				return len(b), wide, narrow
			}
			return n, wide, narrow
		case size > 2:
			wide++
		case size == 2:
			narrow++
		}
		n += size
	}
	return n, wide, narrow
}

// prefixGB18030 gives the length of the well-formed start of b, like prefixUTF8.
func prefixGB18030(b []byte, whole bool) int {
	dec := simplifiedchinese.GB18030.NewDecoder()
	var dst [8]byte
	for n := 0; n < len(b); {
		size := 2
		switch {
		case b[n] < utf8.RuneSelf:
			n++
			continue
		case b[n] == 0x80 || b[n] == 0xff: // 0x80 is only the euro sign of a Windows code page
			return n
		case n+1 < len(b) && b[n+1] >= 0x30 && b[n+1] <= 0x39:
			size = 4
		}
		if n+size > len(b) {
			if whole {
				return n
			}
			return len(b)
		}
		w, _, err := dec.Transform(dst[:], b[n:n+size], true)
		if err != nil || bytes.ContainsRune(dst[:w], utf8.RuneError) {
			return n
		}
		n += size
	}
	return len(b)
}
