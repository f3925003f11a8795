package classify

import "bytes"

// Valid says whether c, in half-width capitals without separators, has every part of the standard of a kind of number, as the
// detectors hold values to it: date and province, prefix and length, check character. Other kinds have no such form.
func Valid(k Kind, c []byte) bool {
	switch k {
	case ResidentID:
		return isResidentID(c)
	case ResidencePermit:
		return isResidencePermit(c)
	case ResidentID15:
		return isResidentID15(c)
	case USCC:
		return isUSCC(c)
	case OrganisationCode:
		return isOrganisationCode(c)
	case BankCard:
		return isBankCard(c)
	case Mobile:
		_, ok := mobileOf(c)
		return ok && (len(c) == 11 || bytes.HasPrefix(c, []byte("+86")) || bytes.HasPrefix(c, []byte("86")) || bytes.HasPrefix(c, []byte("0086")))
	case HKID:
		return isHKID(c)
	case VIN:
		return isVIN(c)
	case Passport:
		return isPassport(c)
	case TravelPermit:
		return isTravelPermit(c)
	}
	return false
}

// Folded gives the half-width character that r counts as in a number or a text, -1 for one without width.
func Folded(r rune) rune { return folded(r) }
