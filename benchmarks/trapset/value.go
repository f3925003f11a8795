package trapset

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Generator (测试集生成器) draws values, columns and notes. The same seed gives the same everything on every machine.
type Generator struct{ r *rand.Rand }

// New starts a generator.
func New(seed uint64) *Generator { return &Generator{rand.New(rand.NewPCG(seed, 0x74726170))} }

func pick[T any](g *Generator, list []T) T { return list[g.r.IntN(len(list))] }

// one says whether something of one chance in n happens.
func (g *Generator) one(n int) bool { return g.r.IntN(n) == 0 }

func (g *Generator) digits(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('0' + g.r.IntN(10))
	}
	return string(b)
}

func (g *Generator) letters(n int, of string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = of[g.r.IntN(len(of))]
	}
	return string(b)
}

// check appends the check character of GB 11643 (ISO 7064 MOD 11-2), by the recursion and not by the table of weights.
func check(body string) string {
	p := 0
	for _, c := range body {
		p = (p + int(c-'0')) * 2 % 11
	}
	return body + string("10X98765432"[p])
}

func (g *Generator) birth() string {
	return fmt.Sprintf("%04d%02d%02d", 1930+g.r.IntN(95), 1+g.r.IntN(12), 1+g.r.IntN(28))
}

func (g *Generator) residentID() string {
	return check(pick(g, counties) + g.birth() + fmt.Sprintf("%03d", 1+g.r.IntN(998)))
}

func (g *Generator) permit() string {
	if g.one(5) {
		return check("9" + pick(g, counties)[:2] + g.digits(3) + g.birth() + fmt.Sprintf("%03d", 1+g.r.IntN(998)))
	}
	return check(pick(g, []string{"810000", "820000", "830000"}) + g.birth() + fmt.Sprintf("%03d", 1+g.r.IntN(998)))
}

func (g *Generator) oldID() string {
	return pick(g, counties) + g.birth()[2:] + fmt.Sprintf("%03d", 1+g.r.IntN(998))
}

func (g *Generator) organisation() string {
	const alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
	body := g.digits(8)
	if g.one(3) {
		body = "MA" + g.letters(6, alphabet)
	}
	weights, sum := [8]int{3, 7, 9, 10, 5, 8, 4, 2}, 0
	for i, c := range body {
		v := int(c - '0')
		if c >= 'A' {
			v = int(c-'A') + 10
		}
		sum += v * weights[i]
	}
	switch c := 11 - sum%11; c {
	case 10:
		return body + "X"
	case 11:
		return body + "0"
	default:
		return body + fmt.Sprint(c)
	}
}

func (g *Generator) uscc() string {
	const alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
	body := pick(g, []string{"91", "91", "91", "92", "93", "12", "11", "51", "52"}) + pick(g, counties) + g.organisation()
	sum, w := 0, 1
	for _, c := range body {
		sum += strings.IndexRune(alphabet, c) * w
		w = w * 3 % 31
	}
	return body + string(alphabet[(31-sum%31)%31])
}

// luhn appends the check digit of ISO/IEC 7812.
func luhn(body string) string {
	sum, double := 0, true
	for i := len(body) - 1; i >= 0; i-- {
		d := int(body[i] - '0')
		if double {
			d = d*2/10 + d*2%10
		}
		sum, double = sum+d, !double
	}
	return body + fmt.Sprint((10-sum%10)%10)
}

func (g *Generator) card() string {
	n := pick(g, []int{16, 19, 19, 19, 17, 18})
	if g.one(8) {
		return g.foreignCard()
	}
	b := pick(g, issuers)
	return luhn(b + g.digits(n-1-len(b)))
}

func (g *Generator) foreignCard() string {
	b := pick(g, []string{"4", "51", "55", "356"})
	return luhn(b + g.digits(15-len(b)))
}

func (g *Generator) mobile() string { return pick(g, prefixes) + g.digits(8) }

func (g *Generator) landline() string {
	a := pick(g, areas)
	n := 8
	if len(a) == 4 && g.one(3) {
		n = 7
	}
	return a + pick(g, []string{"-", "-", "", " "}) + fmt.Sprint(2+g.r.IntN(7)) + g.digits(n-1)
}

func (g *Generator) hkid() string {
	const az = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	l := g.letters(1, az)
	if g.one(8) {
		l = g.letters(2, "WXE"+"RST")
	}
	d := g.digits(6)
	full := l
	if len(l) == 1 {
		full = " " + l
	}
	sum := 0
	for i, c := range full + d {
		v := 36
		switch {
		case c >= 'A':
			v = int(c-'A') + 10
		case c >= '0':
			v = int(c - '0')
		}
		sum += v * (9 - i)
	}
	last := fmt.Sprint((11 - sum%11) % 11)
	if last == "10" {
		last = "A"
	}
	if g.one(2) {
		return l + d + "(" + last + ")"
	}
	return l + d + last
}

func (g *Generator) vin() string {
	const alphabet = "0123456789ABCDEFGHJKLMNPRSTUVWXYZ"
	values := map[rune]int{'A': 1, 'B': 2, 'C': 3, 'D': 4, 'E': 5, 'F': 6, 'G': 7, 'H': 8, 'J': 1, 'K': 2, 'L': 3, 'M': 4, 'N': 5, 'P': 7, 'R': 9, 'S': 2, 'T': 3, 'U': 4, 'V': 5, 'W': 6, 'X': 7, 'Y': 8, 'Z': 9}
	b := []rune("L" + g.letters(12, alphabet) + g.digits(4))
	b[8] = '0'
	sum := 0
	for i, w := range []int{8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2} {
		v, ok := values[b[i]]
		if !ok {
			v = int(b[i] - '0')
		}
		sum += v * w
	}
	b[8] = rune("0123456789X"[sum%11])
	return string(b)
}

func (g *Generator) plate() string {
	p := pick(g, []rune("京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"))
	city := g.letters(1, "ABCDEFGHJK")
	sep := pick(g, []string{"", "", "·", " "})
	switch g.r.IntN(6) {
	case 0:
		return string(p) + city + sep + pick(g, []string{"D", "F"}) + g.letters(1, "0123456789ABCDEFGH") + g.digits(4)
	case 1:
		return string(p) + city + sep + g.digits(5) + pick(g, []string{"D", "F"})
	case 2:
		return string(p) + city + sep + g.digits(4) + pick(g, []string{"挂", "学", "警"})
	}
	return string(p) + city + sep + g.letters(1, "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789") + g.digits(1) + g.letters(1, "ABCDEFGH0123456789") + g.digits(2)
}

func (g *Generator) passport() string {
	if g.one(2) {
		return "E" + g.letters(1, "ABCDEFGHJKLMNP") + g.digits(7)
	}
	return pick(g, []string{"E", "E", "G", "D", "S", "P"}) + g.digits(8)
}

func (g *Generator) travel() string {
	return pick(g, []string{"H", "M", "C", "T", "L"}) + g.digits(8)
}

func (g *Generator) email() string {
	return strings.ToLower(g.letters(4+g.r.IntN(6), "ABCDEFGHIJKLMNOPQRSTUVWXYZ")) + pick(g, []string{"", ".", "_", "-"}) + g.digits(1+g.r.IntN(5)) + "@" + pick(g, []string{"example.org", "mail.example.com", "example.com.cn", "qh.example.net"})
}

func (g *Generator) given() string {
	list := maleGiven
	if g.one(2) {
		list = femaleGiven
	}
	if g.one(40) {
		list = oddGiven
	}
	s := string(pick(g, list))
	if !g.one(4) {
		s += string(pick(g, list))
	}
	return s
}

func (g *Generator) name() string {
	switch n := g.r.IntN(100); {
	case n < 3:
		return pick(g, ethnicFirst) + pick(g, dots) + pick(g, ethnicLast)
	case n < 6:
		return pick(g, compound) + g.given()
	case n < 10:
		return string(pick(g, traditional)) + g.given()
	case n < 22:
		return string(pick(g, rareSurnames)) + g.given()
	}
	return string(commonSurnames[min(g.r.IntN(len(commonSurnames)), g.r.IntN(len(commonSurnames)))]) + g.given()
}

func (g *Generator) address() string {
	p := pick(g, places)
	region := p[0] + p[1] + p[2]
	if g.one(4) && p[2] != "" {
		region = p[1] + p[2]
	}
	no := func(n int) string { return fmt.Sprint(1 + g.r.IntN(n)) }
	switch g.r.IntN(8) {
	case 0: // rural, with a group
		return region + pick(g, towns) + pick(g, hamlet) + no(12) + pick(g, []string{"组", "组", "队", "社"})
	case 1: // rural, with a number
		return region + pick(g, towns) + pick(g, hamlet) + no(300) + "号"
	case 2:
		return region + pick(g, roads) + no(999) + "弄" + no(40) + "号" + no(2000) + "室"
	case 3:
		return region + pick(g, roads) + no(300) + "号" + pick(g, villas) + g.letters(1, "ABCDEF") + "座" + no(3000) + "室"
	case 4:
		return region + pick(g, villas) + no(30) + "栋" + no(4) + "单元" + no(3000) + pick(g, []string{"", "室", "房"})
	case 5:
		return region + pick(g, towns) + pick(g, roads) + no(300) + "号" + no(20) + "号楼" + no(30) + "层"
	case 6:
		return region + pick(g, roads) + no(900) + "号"
	}
	return region + pick(g, towns) + pick(g, roads) + no(400) + "号" + pick(g, villas) + no(24) + "栋" + no(3000) + "室"
}

func (g *Generator) icd() string {
	s := g.letters(1, "ABCDEFGHIJKLMNOQRSTZ") + g.digits(2)
	switch g.r.IntN(4) {
	case 0:
		return s
	case 1:
		return s + "." + g.digits(1)
	case 2:
		return s + "." + g.digits(1) + "00"
	}
	return s + "." + g.digits(3) + pick(g, []string{"x00", "x001", ""})
}

func (g *Generator) illness() string {
	return pick(g, []string{"", "", "", "急性", "慢性", "复发性", "左侧", "双侧", "原发性"}) + pick(g, illnesses)
}

func (g *Generator) company() string {
	p := pick(g, places)
	city := strings.TrimSuffix(p[1], "市")
	return pick(g, []string{p[1], city, "", city + "市"}) + pick(g, fancies) + pick(g, trades) + pick(g, ends)
}

// wide turns ASCII into full-width forms.
func wide(s string) string {
	return strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f {
			return r - '!' + '！'
		}
		return r
	}, s)
}

// dressed writes a number as people do: with spaces, hyphens, full-width, lower case, an apostrophe of a spreadsheet.
func (g *Generator) dressed(s string) string {
	switch g.r.IntN(20) {
	case 0:
		return wide(s)
	case 1:
		return strings.ToLower(s)
	case 2:
		return " " + s + " "
	case 3:
		return "'" + s
	case 4:
		return "\ufeff" + s
	}
	return s
}

// parted splits digits at the given lengths.
func (g *Generator) parted(s string, lengths ...int) string {
	if !g.one(6) {
		return s
	}
	sep, out := pick(g, []string{" ", "-"}), ""
	for _, n := range lengths {
		if n >= len(s) {
			break
		}
		out += s[:n] + sep
		s = s[n:]
	}
	return out + s
}
