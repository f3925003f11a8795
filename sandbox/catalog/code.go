package catalog

import (
	"fmt"

	"github.com/opdomain/opdomain/sandbox"
)

// A catalogue code (统一目录标识) names an entry of a catalogue across domains:
//
//	440309-000011-K
//	│      │      └ check character, ISO 7064 MOD 37,36 over the digits before it
//	│      └ number of the entry in its district, six digits, from 1
//	└ administrative division, GB/T 2260
//
// The scheme is this project's own: 福田区实施方案(征求意见稿) 五(四)1 wants one id and gives no form, and the national code of
// government resources was not at hand. It holds no personal data and does not change when a table's owner does.

// NewCode makes the code of entry n of a division.
func NewCode(division string, n int) (string, error) {
	if len(division) != 6 || !digits(division) || n < 1 || n > 999_999 {
		return "", badCode("a division of six digits and a number from 1 to 999999")
	}
	body := fmt.Sprintf("%s%06d", division, n)
	return fmt.Sprintf("%s-%s-%c", division, body[6:], check37(body)), nil
}

// CheckCode says whether s is a code of the one scheme, with its right check character.
func CheckCode(s string) error {
	if len(s) != 15 || s[6] != '-' || s[13] != '-' || !digits(s[:6]) || !digits(s[7:13]) {
		return badCode("six digits, '-', six digits, '-' and a check character, as 440309-000011-K")
	}
	if s[7:13] == "000000" {
		return badCode("entries are numbered from 1")
	}
	if check37(s[:6]+s[7:13]) != s[14] {
		return badCode("the check character is that of the digits (ISO 7064 MOD 37,36)")
	}
	return nil
}

func badCode(rule string) error {
	return &sandbox.Error{Op: "catalog: code", Kind: sandbox.Invalid, Object: "catalogue code", Detail: rule}
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

const alphabet36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// check37 gives the ISO 7064 MOD 37,36 check character of digits and capital letters.
func check37(s string) byte {
	p := 36
	for i := range len(s) {
		v := int(s[i] - '0')
		if s[i] >= 'A' {
			v = int(s[i]-'A') + 10
		}
		if p = (p + v) % 36; p == 0 {
			p = 36
		}
		p = p * 2 % 37
	}
	return alphabet36[(37-p)%36]
}
