// Shows an image by deep zoom, and tells places on it from places on the screen.

const OSD = window.OpenSeadragon;
const LONGEST = 2000; // milliseconds that the rest waits for the first view

// OpenSeadragon writes a style of its own unless one is there, which the policy of this
// page refuses. This is one by its name alone.
const style = document.createElementNS("urn:none", "style");
style.setAttribute("data-openseadragon-mobile-css", "");
document.head.append(style);

export class Viewer {
  /** `redraw` is called whenever what is in view moves. */
  constructor(element, redraw) {
    this.image = null;
    this.osd = OSD({
      element,
      drawer: "canvas",
      showNavigationControl: false,
      showNavigator: true,
      navigatorPosition: "BOTTOM_RIGHT",
      navigatorSizeRatio: 0.16,
      navigatorAutoFade: false,
      animationTime: 0.35,
      springStiffness: 9,
      blendTime: 0.1,
      maxZoomPixelRatio: 24,
      minZoomImageRatio: 0.7,
      visibilityRatio: 0.3,
      zoomPerScroll: 1.25,
      immediateRender: true,
      imageLoaderLimit: 6,
      timeout: 600_000, // of a tile: an image without a pyramid is read as a whole first
      maxImageCacheCount: 300,
      clickTimeThreshold: 1500,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: false, flickEnabled: false },
      gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: false },
      gestureSettingsPen: { clickToZoom: false, dblClickToZoom: false },
    });
    this.osd.innerTracker.keyHandler = null;
    this.osd.innerTracker.keyDownHandler = null;
    this.canvas = document.createElement("canvas");
    this.canvas.id = "overlay";
    this.osd.canvas.append(this.canvas); // above the image, below the map of it
    for (const event of ["update-viewport", "resize", "open", "animation-finish"]) {
      this.osd.addHandler(event, redraw);
    }
  }

  /** Opens an image; `then` is called when its first tiles are asked for.
   *
   * Resolves when they are all there, or after LONGEST: whatever else the server is asked
   * for would delay them.
   */
  open(image, then) {
    this.image = image;
    const { width, height, side, top, key, stamp } = image;
    return new Promise((resolve) => {
      setTimeout(resolve, LONGEST);
      this.osd.addOnceHandler("open", () => {
        then();
        const shown = this.osd.world.getItemAt(0);
        if (shown.getFullyLoaded()) resolve();
        else shown.addOnceHandler("fully-loaded-change", resolve);
      });
      this.osd.open({
        width, height, tileSize: side, tileOverlap: 0, minLevel: 0, maxLevel: top,
        getTileUrl: (level, x, y) => `api/images/${key}/tiles/${level}/${x}/${y}?v=${stamp}`,
      });
    });
  }

  /** Shows the small map where it helps: when the image is not in view as a whole. */
  map() {
    const { width, height, scale } = this.frame();
    const whole = this.image.width * scale < width * 1.02 && this.image.height * scale < height * 1.02;
    this.osd.navigator.element.style.visibility = whole ? "hidden" : "visible";
  }

  close() {
    this.image = null;
    this.osd.close();
  }

  /** {scale, left, top, width, height}: of the image now; scale is screen px a pixel. */
  frame() {
    const bounds = this.osd.viewport.getBounds(true);
    const size = this.osd.viewport.containerSize;
    const W = this.image.width;
    return {
      scale: size.x / (bounds.width * W),
      left: bounds.x * W - 0.5,
      top: bounds.y * W - 0.5,
      width: size.x,
      height: size.y,
    };
  }

  /** The place on the image under a place on the stage. */
  toImage({ x, y }) {
    const frame = this.frame();
    return [frame.left + x / frame.scale, frame.top + y / frame.scale];
  }

  /** What is in view, cut to the image: [x0, y0, x1, y1]. */
  view() {
    const { left, top, width, height, scale } = this.frame();
    return [
      Math.max(left, -0.5), Math.max(top, -0.5),
      Math.min(left + width / scale, this.image.width - 0.5),
      Math.min(top + height / scale, this.image.height - 0.5),
    ];
  }

  center() {
    const { left, top, width, height, scale } = this.frame();
    return [left + width / 2 / scale, top + height / 2 / scale];
  }

  /** Moves by parts of the screen; at once, so that the next key finds the cross there. */
  pan(dx, dy) {
    const { viewport } = this.osd;
    const bounds = viewport.getBounds(true);
    viewport.panBy(new OSD.Point(dx * bounds.width, dy * bounds.height), true);
    viewport.applyConstraints(true);
  }

  /** Moves by pixels of the screen. */
  nudge(dx, dy) {
    const { viewport } = this.osd;
    viewport.panBy(viewport.deltaPointsFromPixels(new OSD.Point(dx, dy)), true);
  }

  zoom(factor) {
    this.osd.viewport.zoomBy(factor);
    this.osd.viewport.applyConstraints();
  }

  fit() {
    this.osd.viewport.goHome();
  }

  one() {
    this.osd.viewport.zoomTo(this.osd.viewport.imageToViewportZoom(1));
  }

  /** Brings a box of the image into view if no part of it is: at this zoom, if it has room. */
  reveal([x, y, w, h]) {
    const [x0, y0, x1, y1] = this.view();
    if (x <= x1 && y <= y1 && x + w >= x0 && y + h >= y0) return;
    if (w > x1 - x0 || h > y1 - y0) {
      this.show([x, y, w, h]);
      return;
    }
    const W = this.image.width;
    this.osd.viewport.panTo(new OSD.Point((x + w / 2 + 0.5) / W, (y + h / 2 + 0.5) / W));
    this.osd.viewport.applyConstraints();
  }

  /** Brings a box of the image into view. */
  show([x, y, w, h], margin = 1.15) {
    const W = this.image.width;
    const grown = [x - (w * (margin - 1)) / 2, y - (h * (margin - 1)) / 2, w * margin, h * margin];
    this.osd.viewport.fitBounds(new OSD.Rect(...grown.map((value) => value / W)));
  }
}
