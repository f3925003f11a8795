package datagen

import (
	"math/rand/v2"
	"strconv"
	"time"
)

// district draws one person after the other, with the rows that belong to them.
type district struct {
	r    *rand.Rand
	o    Options
	sum  Summary
	seq  map[int]int // region and birth date → numbers given out
	hosp []string

	personRow, claimRows, subsidyRows []byte // of the current person
}

// Counties people come from (GB/T 2260); the first nine are the district's city.
var counties = []int{440303, 440304, 440305, 440306, 440307, 440308, 440309, 440310, 440311,
	440106, 441302, 445202, 430102, 430406, 360103, 420103, 510104, 410103, 450103, 500103, 320102, 330106, 370102, 610102, 230103}

// street is made up, like its code: two letters no region code has.
type street struct {
	code, name string
	weight     int
}

var streets = []street{
	{"QH040101", "望鹤街道", 24}, {"QH040102", "澜槿街道", 20}, {"QH040103", "砚溪街道", 17}, {"QH040104", "栖梧街道", 14},
	{"QH040105", "汀芷街道", 11}, {"QH040106", "岫云街道", 8}, {"QH040107", "苇渡街道", 6},
}

var lone = street{code: "QH040999", name: "孤屿街道"}

// chapter is an ICD-10 letter with its codes and the range of a claim's cost in fen.
type chapter struct {
	letter    string
	codes     []string
	low, high int64
	weight    int
}

var chapters = []chapter{
	{"J", []string{"J06.900", "J18.900", "J20.900", "J44.100", "J45.900"}, 6_000, 900_000, 25},
	{"I", []string{"I10.x00", "I20.000", "I25.100", "I48.x00", "I63.900"}, 9_000, 6_000_000, 20},
	{"K", []string{"K29.500", "K35.900", "K52.900", "K80.200"}, 7_000, 2_400_000, 14},
	{"E", []string{"E03.900", "E11.900", "E78.500"}, 5_000, 800_000, 12},
	{"M", []string{"M17.900", "M47.800", "M51.200"}, 6_000, 3_000_000, 10},
	{"N", []string{"N18.900", "N20.000", "N39.000"}, 6_000, 1_600_000, 8},
	{"S", []string{"S52.500", "S82.600", "S93.400"}, 8_000, 2_800_000, 6},
	{"L", []string{"L20.900", "L30.900", "L50.900"}, 3_000, 200_000, 5},
}

// The plants.
const (
	rareLetter, rareCode           = "Q", "Q21.100"
	rarePeople                     = 6
	dominatedLetter, dominatedCode = "H", "H25.900"
	dominatedPeople                = 60
	dominatingClaim                = 260_000_000 // 2.6 million yuan
	commonLetter                   = "J"
)

var subsidyKinds = []string{"GL01", "CJ02", "DB03", "RC04", "SY05"}

// Two made-up characters never meet in these lists as a word a document would use.
const (
	familyNames = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范廖贾夏韦邹孟熊秦邱江尹薛闫段侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔汤"
	femaleNames = "芳娜敏静丽艳娟霞秀玲桂英华玉萍红娥芬燕彩兰凤洁梅琳素莲荣爱妹香月莺媛瑞凡佳嘉琼勤珍贞莉妍茜璐娅琦晶茵倩婷姣婉娴瑾颖露瑶怡婵雁蓓纨仪荷丹蓉眉琴蕊薇菁梦岚苑筠柔竹霭凝"
	maleNames   = "伟刚勇毅俊峰强军杰涛斌磊鹏浩宇轩辉晨旭昊铭泽睿博翔弘哲彬骏奕霖澄淳瀚煜烨炜焕灿坤垚均培墨松柏楠桦栋梓桐枫钧铮锐锋钊瑜璟琛瑞珩琪玮珏"
)

// dayZero is the first day of the claims, the last is two years later.
var dayZero = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func newDistrict(o Options) *district {
	d := &district{r: rand.New(rand.NewPCG(o.Seed, 0x6f70646f6d61696e)), o: o, seq: map[int]int{},
		sum: Summary{RareChapter: rareLetter, RarePeople: rarePeople, DominatedChapter: dominatedLetter, LoneStreet: lone.code, CommonChapter: commonLetter}}
	for range 12 {
		d.hosp = append(d.hosp, d.uscc())
	}
	return d
}

// role says which plant a person belongs to. The plants' people are spread and never the same.
type role int

const (
	ordinary role = iota
	rare
	dominated
	dominating
	alone
)

func (d *district) role(i int) role {
	step := d.o.Persons / (rarePeople + dominatedPeople + 2)
	k := i / step
	switch {
	case i%step != step/2:
		return ordinary
	case k == 0:
		return alone
	case k <= rarePeople:
		return rare
	case k == rarePeople+1:
		return dominating
	case k <= rarePeople+dominatedPeople:
		return dominated
	}
	return ordinary
}

// person draws person i and everything about them.
func (d *district) person(i int) {
	role := d.role(i)
	male := d.r.IntN(2) == 1
	birth := d.birth(role)
	id := d.residentID(birth, male)
	at := of(d.r, streets, func(s street) int { return s.weight })
	if role == alone {
		at = lone
	}
	b := append(d.personRow[:0], id...)
	b = append(append(append(b, ','), d.name(male)...), ',')
	if male {
		b = append(b, '1')
	} else {
		b = append(b, '2')
	}
	b = append(birth.AppendFormat(append(b, ','), time.DateOnly), ',')
	b = append(append(number(append(b, d.mobilePrefix()...), d.r.IntN(1e8), 8), ','), at.code...)
	b = append(append(append(b, ",云澜省鹤汀市澜槿区"...), at.name...), "芷溪路"...)
	b = append(strconv.AppendInt(b, int64(1+d.r.IntN(400)), 10), "号"...)
	b = append(strconv.AppendInt(b, int64(1+d.r.IntN(24)), 10), "栋"...)
	b = append(strconv.AppendInt(b, int64(101+100*d.r.IntN(30)+d.r.IntN(8)), 10), "室\n"...)
	d.personRow = b
	d.sum.Persons++

	d.claimRows, d.subsidyRows = d.claimRows[:0], d.subsidyRows[:0]
	d.claims(id, role, birth)
	if d.r.IntN(10) < 3 {
		d.subsidy(id)
	}
}

func (d *district) claims(id string, role role, birth time.Time) {
	switch role {
	case rare:
		d.claim(id, rareCode, 40_000+d.r.Int64N(900_000), birth)
		return
	case dominated:
		d.claim(id, dominatedCode, 8_000+d.r.Int64N(22_000), birth)
		return
	case dominating:
		d.claim(id, dominatedCode, dominatingClaim, birth)
		return
	}
	n := [...]int{0, 1, 1, 2, 2, 3, 3, 4, 5, 8}[d.r.IntN(10)] // 2.9 on average
	if role == alone {
		n = 2
	}
	for range n {
		c := of(d.r, chapters, func(c chapter) int { return c.weight })
		if role == alone {
			c = chapters[0]
		}
		u := d.r.Int64N(1000)
		no := d.claim(id, c.codes[d.r.IntN(len(c.codes))], c.low+(c.high-c.low)*u*u*u/1_000_000_000+d.r.Int64N(100), birth)
		if d.sum.Patient.ClaimNo == "" && role == ordinary && c.letter == commonLetter {
			d.sum.Patient = Patient{ResidentID: id, ClaimNo: no}
		}
	}
}

func (d *district) claim(id, code string, fen int64, birth time.Time) (no string) {
	day := dayZero.AddDate(0, 0, d.r.IntN(731))
	if day.Before(birth) {
		day = birth
	}
	d.sum.Claims++
	n := number(day.AppendFormat([]byte("YB"), "20060102"), int(d.sum.Claims), 9)
	b := append(append(d.claimRows, n...), ',')
	b = append(append(append(b, id...), ','), d.hosp[d.r.IntN(len(d.hosp))]...)
	b = append(append(append(b, ','), code...), ',')
	d.claimRows = append(yuan(append(day.AppendFormat(b, time.DateOnly), ','), fen), '\n')
	return string(n)
}

func (d *district) subsidy(id string) {
	d.sum.Subsidies++
	day := dayZero.AddDate(0, 0, d.r.IntN(731))
	b := number(day.AppendFormat(append(d.subsidyRows, "BT"...), "200601"), int(d.sum.Subsidies), 9)
	b = append(append(append(b, ','), id...), ',')
	b = append(append(b, subsidyKinds[d.r.IntN(len(subsidyKinds))]...), ',')
	b = append(yuan(b, 100*(100+50*d.r.Int64N(40))), ',')
	d.subsidyRows = append(day.AppendFormat(b, time.DateOnly), '\n')
}
