package emulator

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
)

// Thumbnail returns the JPEG of the clip idx of a task, as it is served.
func (s *Server) Thumbnail(taskID string, idx int) ([]byte, error) {
	t, c, err := s.find(taskID, idx)
	if err != nil {
		return nil, err
	}
	return s.thumbnail(t, c)
}

// thumbnail draws a pattern of colored tiles, another one for each clip.
func (s *Server) thumbnail(t *task, c rendered) ([]byte, error) {
	const tile, across = 20, 16
	chance := newChance(s.opts.Seed, "thumbnail", t.id, c.idx)
	img := image.NewYCbCr(image.Rect(0, 0, tile*across, tile*across*9/16), image.YCbCrSubsampleRatio420)
	var colors [across * across]color.YCbCr
	for i := range colors {
		n := chance.next()
		colors[i] = color.YCbCr{Y: 60 + uint8(n)%140, Cb: uint8(n >> 8), Cr: uint8(n >> 16)}
	}
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			color := colors[y/tile*across+x/tile]
			img.Y[img.YOffset(x, y)] = color.Y
			at := img.COffset(x, y)
			img.Cb[at], img.Cr[at] = color.Cb, color.Cr
		}
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, img, &jpeg.Options{Quality: 75}); err != nil {
		return nil, fmt.Errorf("draw thumbnail: %w", err)
	}
	return out.Bytes(), nil
}
