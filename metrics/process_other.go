//go:build !linux

package metrics

func anonymousMemory() (bytes float64, ok bool) { return 0, false }

func openFiles() (n float64, ok bool) { return 0, false }

func mostFiles() (n float64, ok bool) { return 0, false }

func diskAvailable(string) (bytes float64, ok bool) { return 0, false }
