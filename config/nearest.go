package config

import "strings"

// nearest is the one of known that someone who wrote key most likely meant: the key with
// the fewest letters to change, in its whole path or in its last part, since a setting put
// in the wrong section is as common as a slip of the finger. The distance is that of the
// better of the two.
func nearest(key string, known []string) (string, int) {
	best, distance := "", -1
	for _, k := range known {
		d := editDistance(plain(key), plain(k))
		if last := editDistance(plain(lastPart(key)), plain(lastPart(k))) + 1; last < d {
			d = last
		}
		if distance < 0 || d < distance {
			best, distance = k, d
		}
	}
	return best, distance
}

func lastPart(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// plain takes away what differs between frame_max, frame-max and frameMax.
func plain(key string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(key))
}

// editDistance is the number of letters to insert, delete, replace or swap with their
// neighbour to make b of a.
func editDistance(a, b string) int {
	before, previous, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, previous, row = previous, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replaced := previous[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			row[j] = min(previous[j]+1, row[j-1]+1, replaced)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
