"""What a figure shows, for tests."""


def legend_texts(figure):
  return [text.get_text() for text in figure.legends[0].get_texts()]


def assert_nothing_overlaps_or_leaves(figure):
  """The legend and every title and axis label lie within the figure, apart."""
  figure.draw_without_rendering()
  renderer = figure.canvas.get_renderer()
  texts = [t for axes in figure.axes for t in (axes.title, axes.xaxis.label)]
  texts += [axes.yaxis.label for axes in figure.axes] + figure.legends
  boxes = [each.get_window_extent(renderer) for each in texts]
  boxes = [box for box in boxes if box.width > 1]
  for index, box in enumerate(boxes):
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1
    assert not any(box.overlaps(other) for other in boxes[:index])
