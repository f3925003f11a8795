package classify

import (
	"strings"
	"unicode"
)

// isLatinName accepts one to four words of Latin letters, each with a capital first, perhaps an apostrophe or a hyphen inside
// and up to four digits behind, as made-up names of test data have. It is no evidence by itself: most titles look so too.
// given says that the first word is a common given name.
func isLatinName(s string) (ok, given bool) {
	if len(s) < 2 || len(s) > 64 {
		return false, false
	}
	words, letters, digits := 0, 0, 0
	first := len(s) // where the first word ends, its digits left out
	for i, r := range s {
		switch {
		case r == ' ':
			if letters == 0 {
				return false, false
			}
			first = min(first, i)
			letters, digits = 0, 0
		case r == '\'' || r == '’' || r == '-':
			if letters == 0 || digits > 0 {
				return false, false
			}
		case r == '.':
			if letters == 0 || letters > 3 || digits > 0 { // J. or Mrs.
				return false, false
			}
		case r >= '0' && r <= '9':
			if digits++; letters < 2 || digits > 4 {
				return false, false
			}
			first = min(first, i)
		case r < 0x250 && unicode.IsLetter(r):
			if letters == 0 {
				if words++; words > 4 || unicode.IsLower(r) {
					return false, false
				}
			}
			if digits > 0 {
				return false, false
			}
			letters++
		default:
			return false, false
		}
	}
	if words == 0 || letters == 0 || words == 1 && letters < 2 {
		return false, false
	}
	_, given = givenLatin[s[:first]]
	return true, given
}

// givenLatin are common given names in English, Spanish and pinyin, from general knowledge; those that are as often a month, a
// place or a word are left out.
var givenLatin = func() map[string]struct{} {
	m := map[string]struct{}{}
	for _, n := range strings.Fields(givenLatinNames) {
		m[n] = struct{}{}
		m[strings.ToUpper(n)] = struct{}{}
	}
	return m
}()

const givenLatinNames = `Aaron Abigail Adam Adrian Agnes Alan Albert Alberto Alejandra Alejandro Alex Alexander Alexandra Alfred Alfredo Alice Alicia Alison Allison Amanda Amelia Amy Ana Andrea Andreas Andres Andrew Angela Angelica Anita Ann Anna Anne Annette Annie Anthony Antonio Arthur Arturo Ashley Audrey
 Barbara Beatrice Benjamin Bernard Bernice Beth Betty Beverly Blanca Bonnie Bradley Brandon Brenda Brian Bruce Bryan Camila Carl Carla Carlos Carmen Carol Caroline Carolyn Catherine Cecilia Charles Cheryl Chloe Christian Christina Christine Christopher Claire Clara Claudia Connie Craig Cristina Crystal Cynthia
 Daniel Daniela David Dawn Deborah Debra Denise Dennis Derek Diana Diane Diego Donald Donna Doris Dorothy Douglas Dylan Eddie Edgar Edith Edna Eduardo Edward Edwin Eileen Elaine Eleanor Elena Elizabeth Ellen Emily Emma Enrique Eric Erica Erik Ernest Esther Ethan Eugene Eva Evelyn
 Felipe Fernando Florence Frances Francis Francisco Frank Fred Frederick Gabriel Gabriela Gail Gary George Gerald Geraldine Gerardo Gladys Gloria Gregory Guadalupe Guillermo Gustavo Hannah Harold Harry Hazel Heather Hector Helen Henry Herbert Howard Hugo Ian Ignacio Irene Isaac Isabel Isabella
 Jacob Jacqueline Jaime James Jamie Jane Janet Janice Jason Javier Jean Jeff Jeffrey Jennifer Jeremy Jerome Jerry Jesse Jessica Jesus Jill Jim Joan Joanne Joe Joel John Johnny Jonathan Jorge Jose Joseph Joshua Joyce Juan Juanita Judith Judy Julia Julian Julie Julio Justin
 Karen Karl Katherine Kathleen Kathryn Kathy Katie Keith Kelly Kenneth Kevin Kimberly Kristen Kyle Larry Laura Lauren Laurie Lawrence Leo Leonard Leslie Lewis Lillian Linda Lisa Lois Lori Lorraine Louis Louise Lucas Lucia Lucy Luis Luisa Lynn
 Manuel Marc Marco Marcos Marcus Margaret Margarita Maria Marie Marilyn Mario Marjorie Marlene Martha Martin Marvin Mary Mateo Matthew Maureen Megan Melanie Melissa Melvin Mia Michael Michelle Miguel Mildred Monica Nancy Natalie Nathan Nicholas Nicolas Nicole Noah Nora Norma Norman Olga Olivia Oscar
 Pablo Pamela Patricia Patrick Paul Paula Pauline Pedro Peggy Peter Philip Phillip Phyllis Rachel Rafael Ralph Ramon Raquel Raul Raymond Rebecca Ricardo Richard Rita Robert Roberta Roberto Rodrigo Roger Ronald Rosa Rosemary Roy Ruben Russell Ruth Ryan
 Salvador Samantha Samuel Sandra Santiago Sara Sarah Scott Sean Sergio Sharon Sheila Shirley Sofia Sophia Stephanie Stephen Steve Steven Stuart Susan Suzanne Sylvia Tamara Tammy Teresa Terry Theodore Theresa Thomas Tiffany Timothy Tina Todd Tony Tracy Travis Tyler
 Valerie Vanessa Vera Veronica Vicente Victor Vincent Virginia Vivian Walter Wanda Wayne Wendy William Yolanda Yvonne Zachary
 Li Wang Zhang Liu Chen Yang Huang Zhao Wu Zhou Xu Sun Ma Zhu Hu Guo He Lin Gao Luo Zheng Liang Xie Song Tang Deng Feng Cao Peng Zeng Xiao Tian Dong Pan Yuan Cai Jiang Yu Du Ye Cheng Wei Su Lu Ding Ren Shen Yao Wong Chan Cheung Lau Leung Ng Kwok`
