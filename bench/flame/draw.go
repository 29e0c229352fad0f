package main

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/fnv"
	"html"
	"maps"
	"slices"
	"strings"
)

const (
	width      = 1200.0 // pixels
	margin     = 10.0
	lineHeight = 16
	letter     = 6.6 // width of one, of 11 pixels' height
	head       = 36  // above the frames
)

// draw returns the SVG. Frames narrower than that many pixels are left out.
func draw(root *node, title, unit string, narrowest float64) []byte {
	d := &drawing{unit: unit, narrowest: narrowest, total: root.total}
	d.scale = (width - 2*margin) / float64(root.total)
	d.depth = d.depthOf(root)
	height := head + float64(d.depth)*lineHeight + margin
	fmt.Fprintf(&d.svg, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="monospace" font-size="11">`+"\n", width, height)
	fmt.Fprintf(&d.svg, `<rect width="100%%" height="100%%" fill="#fff"/>`+"\n")
	fmt.Fprintf(&d.svg, `<text x="%.0f" y="14" font-size="14">%s</text>`+"\n", margin, html.EscapeString(title))
	legend := ""
	if root.hasKernel() {
		legend = "; blue is the kernel's"
	}
	fmt.Fprintf(&d.svg, `<text x="%.0f" y="30">%d %s%s</text>`+"\n", margin, root.total, html.EscapeString(unit), legend)
	d.frame(root, margin, 0)
	d.svg.WriteString("</svg>\n")
	return d.svg.Bytes()
}

type drawing struct {
	svg       bytes.Buffer
	unit      string
	narrowest float64
	scale     float64 // pixels for one that was counted
	total     int64
	depth     int // frames above each other
}

func (d *drawing) visible(n *node) bool { return float64(n.total)*d.scale >= d.narrowest }

func (d *drawing) depthOf(n *node) int {
	depth := 0
	for _, child := range n.children {
		if d.visible(child) {
			depth = max(depth, d.depthOf(child))
		}
	}
	return depth + 1
}

// frame draws a frame and what it called, from the left in the order of the names.
func (d *drawing) frame(n *node, x float64, level int) {
	w := float64(n.total) * d.scale
	y := head + (d.depth-1-level)*lineHeight
	name := html.EscapeString(n.name)
	fmt.Fprintf(&d.svg, `<g><title>%s: %d %s, %.1f%%</title><rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`,
		name, n.total, html.EscapeString(d.unit), 100*float64(n.total)/float64(d.total), x, y, max(w-0.3, 0.2), lineHeight-1, color(n))
	if fits := int((w - 4) / letter); fits >= 3 {
		label := []rune(short(n.name))
		if len(label) > fits {
			label = append(label[:fits-1], '…')
		}
		fmt.Fprintf(&d.svg, `<text x="%.1f" y="%d">%s</text>`, x+2, y+11, html.EscapeString(string(label)))
	}
	d.svg.WriteString("</g>\n")
	byName := func(a, b frame) int { return cmp.Or(cmp.Compare(a.name, b.name), compareBool(a.kernel, b.kernel)) }
	for _, f := range slices.SortedFunc(maps.Keys(n.children), byName) {
		child := n.children[f]
		if d.visible(child) {
			d.frame(child, x, level+1)
		}
		x += float64(child.total) * d.scale
	}
}

// short returns a function's name without the path of its package, such as
// netio.(*Conn).Deliver; the title says all of it.
func short(name string) string {
	path, _, _ := strings.Cut(name, "[") // type arguments have paths, too
	return name[strings.LastIndexByte(path, '/')+1:]
}

// hasKernel reports whether it or what it called is the kernel's.
func (n *node) hasKernel() bool {
	for _, child := range n.children {
		if child.hasKernel() {
			return true
		}
	}
	return n.kernel
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// color is warm for the process's own functions and blue for the kernel's; the same
// name always has the same.
func color(n *node) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(n.name)) // never fails
	shade := h.Sum32() % 50
	if n.kernel {
		return fmt.Sprintf("#%02x%02xee", 130+shade, 170+shade)
	}
	return fmt.Sprintf("#f6%02x%02x", 140+2*shade, 70+shade)
}
