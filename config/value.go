package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, written as 1048576, 1MiB or 1MB.
type Size int64

var units = []struct {
	suffix string
	bytes  Size
}{
	{"PiB", 1 << 50},
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"PB", 1e15},
	{"TB", 1e12},
	{"GB", 1e9},
	{"MB", 1e6},
	{"kB", 1e3},
	{"KB", 1e3},
	{"B", 1},
}

var errSize = errors.New("want a size, such as 0, 512MiB or 10GiB")

// UnmarshalText reads a whole number and an optional unit, with or without a space between them.
func (s *Size) UnmarshalText(text []byte) error {
	number, unit := string(text), Size(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = strings.TrimSuffix(rest, " "), u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || Size(n) > math.MaxInt64/unit {
		return errSize
	}
	*s = Size(n) * unit
	return nil
}

// String writes s with the unit that makes the number smallest.
func (s Size) String() string {
	number, suffix := s, ""
	for _, u := range units {
		if s%u.bytes == 0 && s/u.bytes < number {
			number, suffix = s/u.bytes, u.suffix
		}
	}
	return strconv.FormatInt(int64(number), 10) + suffix
}

// Reserve is space to keep free: a share of the disk if Percent is not 0, else a number of bytes.
type Reserve struct {
	Percent float64
	Bytes   Size
}

// UnmarshalText reads a percentage ("2%", "0.5%") or a Size.
func (r *Reserve) UnmarshalText(text []byte) error {
	share, ok := strings.CutSuffix(string(text), "%")
	if !ok {
		var s Size
		if s.UnmarshalText(text) != nil {
			return errors.New("want a percentage or a size, such as 2% or 20GiB")
		}
		*r = Reserve{Bytes: s}
		return nil
	}
	p, err := strconv.ParseFloat(share, 64)
	if err != nil || !(p >= 0 && p < 100) { // NaN compares false
		return errors.New("want a percentage from 0% to below 100%")
	}
	*r = Reserve{Percent: p}
	return nil
}

// String writes r as UnmarshalText reads it.
func (r Reserve) String() string {
	if r.Percent != 0 {
		return strconv.FormatFloat(r.Percent, 'f', -1, 64) + "%"
	}
	return r.Bytes.String()
}
