package catalog

import (
	"strings"

	"golang.org/x/text/encoding/simplifiedchinese"
)

// Level 1 of GB 2312 orders its 3755 characters by their reading, so the initial of each is where it stands. These are the
// first characters of a reading's letter, as GBK bytes.
var (
	initialFrom = [...]uint16{0xB0A1, 0xB0C5, 0xB2C1, 0xB4EE, 0xB6EA, 0xB7A2, 0xB8C1, 0xB9FE, 0xBBF7, 0xBFA6, 0xC0AC, 0xC2E8,
		0xC4C3, 0xC5B6, 0xC5BE, 0xC6DA, 0xC8BB, 0xC8F6, 0xCBFA, 0xCDDA, 0xCEF4, 0xD1B9, 0xD4D1}
	initialOf = "abcdefghjklmnopqrstwxyz"
)

const initialEnd = 0xD7F9 // last character of level 1

// Initials (拼音首字母) writes the first letter of each common character's reading, and letters and digits as they are: 人口数据 gives
// rksj. A character with two readings has the one it is sorted under (行 x, 重 z); characters beyond level 1 are left out.
func Initials(s string) string {
	var b strings.Builder
	enc := simplifiedchinese.GBK.NewEncoder()
	for _, r := range s {
		switch {
		case r < 0x80:
			if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
				b.WriteRune(r)
			}
		case r >= 0x4e00 && r <= 0x9fff:
			g, err := enc.Bytes([]byte(string(r)))
			if err != nil || len(g) != 2 {
				continue
			}
			at := uint16(g[0])<<8 | uint16(g[1])
			if at < initialFrom[0] || at > initialEnd {
				continue
			}
			i := len(initialFrom) - 1
			for initialFrom[i] > at {
				i--
			}
			b.WriteByte(initialOf[i])
		}
	}
	return b.String()
}
