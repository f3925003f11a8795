package classify

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestRandomStringsAreNoIdentityNumbers: of 2,000,000 random strings of 18 digits, or 17 and an X one time in eleven, at most
// 0.01 % are taken for identity numbers. The check character alone lets 9 % pass.
func TestRandomStringsAreNoIdentityNumbers(t *testing.T) {
	const n = 2_000_000
	r := rand.New(rand.NewPCG(18, 18))
	sc := NewScanner()
	taken, checked, credit := 0, 0, 0
	var b [18]byte
	for range n {
		for i := range b {
			b[i] = byte('0' + r.IntN(10))
		}
		if r.IntN(11) == 0 {
			b[17] = 'X'
		}
		if checksGB11643(b[:]) {
			checked++
		}
		m := sc.detect(string(b[:]))
		if m.kinds.has(kResidentID) || m.kinds.has(kResidencePermit) {
			taken++
		}
		if m.kinds.has(kUSCC) {
			credit++
		}
	}
	t.Logf("of %d: check character %.2f %%, identity number or permit %.4f %%, credit code %.4f %%", n, 100*float64(checked)/n, 100*float64(taken)/n, 100*float64(credit)/n)
	if checked < n/15 || checked > n/9 {
		t.Error("the strings are not what they should be")
	}
	if taken*10_000 > n {
		t.Errorf("%d of %d are taken for identity numbers", taken, n)
	}
}

// TestUnknownCountyIsNeverRefused: a withdrawn county code lowers confidence; the number stays an identity number.
func TestUnknownCountyIsNeverRefused(t *testing.T) {
	known := withCheck("44030519900307001", "0123456789X", checksGB11643)
	withdrawn := withCheck("11010319550101123", "0123456789X", checksGB11643) // a county of Beijing merged in 2010
	a, okA := Detect(known)
	b, okB := Detect(withdrawn)
	if !okA || !okB || a.Kind != ResidentID || b.Kind != ResidentID || b.Confidence >= a.Confidence || b.Confidence < 1 {
		t.Errorf("%v %v, %v %v", a, okA, b, okB)
	}
	if old, ok := Detect("110103550101123"); !ok || old.Kind != ResidentID15 || old.Confidence >= 40 {
		t.Errorf("old form: %v %v", old, ok)
	}
}

func TestRegions(t *testing.T) {
	tab := loaded()
	counties := 0
	for _, w := range tab.county {
		for ; w > 0; w &= w - 1 {
			counties++
		}
	}
	if counties != 2978 {
		t.Errorf("%d counties", counties)
	}
	for n := range 1_000_000 {
		if c := []byte(fmt.Sprintf("%06d", n)); tab.knowsCounty(c) && !isProvince(c) {
			t.Fatalf("county %s lies in no province", c)
		}
	}
}

// TestNothingIsAllocatedPerValue holds the hot path to its promise, for every sort of value and for texts.
func TestNothingIsAllocatedPerValue(t *testing.T) {
	sc := NewScanner()
	for name, s := range map[string]string{"id": "11010519491231002X", "spaced": "110105 19491231 002X", "wide": "１１０１０５１９４９１２３１００２Ｘ", "uscc": "91350100M000100Y43",
		"card": "6222021234567890128", "mobile": "+86 138-0013-8000", "mail": "someone@example.org", "name": "欧阳明月", "address": "广东省深圳市南山区望海路8号3栋502室",
		"disease": "急性阑尾炎", "company": "深圳市栖梧科技有限公司", "plate": "粤BD12345", "code": "E11.900x001", "text": "患者王小丫，电话13800138000，邮箱someone@example.org。",
		"long": strings.Repeat("门诊随诊，", 2000), "none": "2023-01-27T16:17:47Z"} {
		if n := testing.AllocsPerRun(100, func() { sc.detect(s) }); n != 0 {
			t.Errorf("%s: %.0f allocations", name, n)
		}
	}
}
