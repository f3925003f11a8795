package classify

// headerConfidence is the confidence at which a header counts as a value, in percent: that of the weakest detectors.
const headerConfidence = 40

// headerDigits are more digits than the headers of tables have.
const headerDigits = 6

// Header says whether a header looks like a value (字段名疑似数据), as it does where a file has no header line: hide is for showing the
// number of the field instead; own says that it has the kind that was found in its column. Names of illnesses and enterprises
// are headers as well, and so are words that only begin like a person's name.
func (sc *Scanner) Header(header string, found Kind) (hide, own bool) {
	m := sc.detect(header)
	for i, k := range kinds {
		if !m.kinds.has(i) {
			continue
		}
		switch k {
		case Disease, Enterprise:
			continue
		case PersonName:
			if !m.likely && found.Of() != PersonName {
				continue
			}
		case OrganisationCode:
			if found != OrganisationCode && !isDigits([]byte(header[:1])) { // a word of nine letters may pass
				continue
			}
		}
		hide = hide || rules[k].base >= headerConfidence
		own = own || k == found
	}
	digits := 0
	for i := range len(header) {
		if classOf[header[i]]&cDigit != 0 {
			digits++
		}
	}
	e := sc.embedded(header)
	var p places
	sc.put(&p, header)
	latin, given := isLatinName(header)
	latin = latin && found == LatinName && (given || digits > 0)
	hide = hide || digits >= headerDigits || m.date || p.likely|p.faint != 0 || e > 0 && e != noPlace || latin
	own = own || latin || found == BirthDate && m.date || found != found.Of() && p.likely.has(kindPlace[found.Of()])
	return hide, own
}
