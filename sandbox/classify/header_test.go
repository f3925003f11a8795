package classify

import "testing"

func TestHeader(t *testing.T) {
	for _, c := range []struct {
		header    string
		found     Kind
		hide, own bool
	}{
		{"王小丫", PersonName, true, true}, {"王小丫", None, true, false}, {"440301500101123", ResidentID15, true, true}, {"E12345678", Passport, true, true},
		{"11010519491231002X", ResidentID, true, true}, {"1980-01-02", BirthDate, true, true}, {"Maynard46", LatinName, true, true}, {"John", LatinName, true, true},
		{"患者王芳，电话13800138000", Contains(Mobile), true, true}, {"00011010519491231002X001", Contains(ResidentID), true, true}, {"20260101123", None, true, false},
		{"姓名", PersonName, false, false}, {"身份证号", ResidentID, false, false}, {"name", PersonName, false, false}, {"NAME", LatinName, false, false}, {"icd10", ICD10, false, false},
		{"高血压", None, false, false}, {"所属公司名称", Enterprise, false, false}, {"金额", None, false, false}, {"方案名称", None, false, false}, {"住址", Address, false, false}, {"c511", None, false, false},
		{"DISPENSES", None, false, false}, {"ENCOUNTER", None, false, false}, {"SPECIALITY", None, false, false}, {"联系电话", Mobile, false, false}, {"SSN", OtherID, false, false}, {"FIRST", LatinName, false, false},
	} {
		if hide, own := NewScanner().Header(c.header, c.found); hide != c.hide || own != c.own {
			t.Errorf("%s in a column of %q: %v %v", c.header, c.found, hide, own)
		}
	}
}
