//go:build evenkeel_noflush

package disk

// NoFlush: flushes do nothing in this build; see flush.go.
const NoFlush = true
