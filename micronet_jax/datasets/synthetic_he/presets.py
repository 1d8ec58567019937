"""The 23 organs of the paper, each as a recipe for tissue that looks like it.

The paper's text (BMC Bioinformatics 20:472, 2019) names 19 of its 23 organs. The four
others here (head_and_neck, skin, testis, thyroid) are our choice among the organs of
TCGA, the archive that the paper's images come from. The recipes are of our own making,
after the histology of the tumour that TCGA holds for the organ; no number is measured
on a patient. Lengths are px at 0.25 µm per px (40x).
"""

from dataclasses import dataclass

GENERATOR_VERSION = "1.0.0"


@dataclass(frozen=True)
class Nucleus:
  """How the nuclei of one population look."""

  # Geometric mean of the two half axes, px.
  radius: float = 10.0
  # Standard deviation of log(radius) between the nuclei of one image.
  spread: float = 0.15
  # Mean ratio of the half axes, >= 1.
  elongation: float = 1.25
  # Amplitude of the boundary's deformation, as a fraction of the radius.
  irregularity: float = 0.05
  # Hematoxylin of the plain inside; 1 = a compact dark nucleus, 0.2 = an empty one.
  body: float = 0.7
  # Extra hematoxylin at the nuclear envelope.
  rim: float = 0.15
  # Amplitude of the chromatin's mottling.
  clump: float = 0.15
  # Size of a chromatin clump, px (0.8 fine, 2.5 coarse).
  grain: float = 1.4
  # Mean number of visible nucleoli.
  nucleoli: float = 0.3
  # Radius of a nucleolus, px.
  nucleolus: float = 1.8
  # Standard deviation of log(darkness) between the nuclei of one image.
  variation: float = 0.15
  # Fraction that is cut at its cap only and so looks faint.
  shallow: float = 0.1


LYMPHOCYTE = Nucleus(
  radius=6.8, spread=0.08, elongation=1.12, irregularity=0.03, body=0.92, rim=0.1,
  clump=0.2, grain=1.6, nucleoli=0.0, variation=0.12,
)  # fmt: skip
FIBROBLAST = Nucleus(
  radius=5.8, spread=0.2, elongation=3.1, irregularity=0.05, body=0.7, rim=0.12,
  clump=0.14, grain=1.3, nucleoli=0.1, nucleolus=1.2, variation=0.25,
)  # fmt: skip


@dataclass(frozen=True)
class Preset:
  """The recipe of one organ. Counts are per 500 x 500 px of tissue."""

  # Which tumour or tissue it imitates.
  description: str
  # Least and most nuclei that a 500 x 500 image of the organ may hold.
  count_range: tuple[int, int]
  # The main population.
  primary: Nucleus
  # How many of them are tried (fewer fit where space runs out).
  primary_count: float
  # A second, rarer population of the parenchyma (None: none), and its count.
  secondary: Nucleus | None = None
  secondary_count: float = 0.0
  # Lymphocytes and fibroblasts, counts.
  lymphocytes: float = 10.0
  fibroblasts: float = 15.0
  # How strongly lymphocytes clump together, 0 even to 3 dense foci.
  lymph_foci: float = 1.0
  # Least distance of two nuclei over the sum of their radii along the line between
  # them: 1 touching, below it overlapping.
  separation: float = 0.95

  # Architecture: compartments (glands, nests, fascicles, fat cells).
  # Mean distance between the centres of compartments, px.
  compartment: float = 140.0
  # Length over width of a compartment.
  stretch: float = 1.0
  # Amplitude of the compartments' deformation, px.
  warp: float = 10.0
  # Half the width of the septum between two compartments, px.
  septum: float = 6.0
  # What the septum is: "stroma", or "sinusoid" (a blood space).
  septum_kind: str = "stroma"
  # Fraction of compartments that are stroma; of those that are fat cells.
  stroma_fraction: float = 0.15
  fat_fraction: float = 0.0
  # Thickness of the epithelium around a lumen, px, and the fraction of compartments
  # that have one.
  height: float = 40.0
  open_fraction: float = 0.0
  # What fills lumina: "white", "colloid", "mucus" or "debris".
  lumen_fill: str = "white"
  # Where primary nuclei lie: least and most depth below the compartment's edge, px.
  band: tuple[float, float] = (0.0, 1e9)
  # Where the primary population lives: "epithelium" or "stroma" (spindled tumours).
  home: str = "epithelium"
  # Their long axes: "radial", "tangential", "fibre" or "random".
  orientation: str = "random"
  # Standard deviation of the axes around that direction, radians.
  disorder: float = 0.35
  # Fraction of the tissue torn or retracted to white gaps, and the gaps' size, px.
  gaps: float = 0.008
  gap_scale: float = 22.0

  # Cytoplasm: eosin, hematoxylin (basophilia), clear centre (0 to 1), foam of small
  # vacuoles (0 to 1), granularity.
  eosin: float = 0.55
  basophilia: float = 0.16
  clear: float = 0.0
  foam: float = 0.15
  granular: float = 0.3
  # Cell borders: positive dark membranes, negative pale clefts.
  membrane: float = 0.1
  # Width of the pale halo around a nucleus, px, and its strength (0 to 1).
  halo: float = 0.0
  halo_strength: float = 0.0

  # Stroma: eosin, hematoxylin (myxoid blue), contrast of the fibres, their thickness
  # (px) and waviness (px of sideways wander).
  stroma_eosin: float = 0.65
  stroma_blue: float = 0.07
  fibre: float = 0.3
  fibre_width: float = 2.6
  waviness: float = 14.0
  # Contrast of the same fibres inside cytoplasm.
  fibrillar: float = 0.06

  # Things that are not nuclei, counts: red blood cells, apoptotic fragments, pigment
  # grains, mucus or fat droplets (with their radius, px, and what is in them:
  # "mucus" or "fat"), keratin swirls.
  rbc: float = 4.0
  apoptotic: float = 1.5
  pigment: float = 0.0
  # Optical density direction of the pigment: "melanin" or "carbon".
  pigment_kind: str = "melanin"
  droplets: float = 0.0
  droplet_radius: float = 9.0
  droplet_kind: str = "mucus"
  keratin: float = 0.0

  # Stain: optical density (length of the RGB vector) of hematoxylin at body 1 and of
  # eosin at 1; 0 a blue-pink eosin to 1 an orange-red one; 0 a blue hematoxylin to 1
  # a purple one.
  hematoxylin_od: float = 1.75
  eosin_od: float = 0.82
  warmth: float = 0.5
  purple: float = 0.5
  # Spread between patients of everything about the stain, 1 = as usual.
  stain_spread: float = 1.0
  # Defocus of an image: mean Gaussian σ, px.
  blur: float = 0.65


def _squamous(**changes) -> dict:
  """What squamous epithelia share."""
  return {
    "membrane": 0.3, "foam": 0.08, "eosin": 0.75, "basophilia": 0.14,
    "compartment": 230.0, "septum": 10.0, "warp": 18.0, "stroma_fraction": 0.1,
    "warmth": 0.6, **changes,
  }  # fmt: skip


PRESETS: dict[str, Preset] = {
  "adrenal_gland": Preset(
    "pheochromocytoma: nests of granular cells in a net of capillaries",
    (50, 270),
    Nucleus(10.0, 0.22, 1.15, 0.04, 0.52, 0.2, 0.3, 1.3, 0.3, 1.6, 0.2),
    130, lymphocytes=4, fibroblasts=16, separation=1.0,
    compartment=95, septum=3.0, warp=12, stroma_fraction=0.04, gaps=0.012,
    eosin=0.42, basophilia=0.3, foam=0.35, granular=0.4, membrane=0.1,
    rbc=22, warmth=0.3, purple=0.75,
  ),
  "bile_duct": Preset(
    "cholangiocarcinoma: small glands in abundant scar-like stroma",
    (40, 330),
    Nucleus(9.5, 0.2, 1.35, 0.06, 0.55, 0.18, 0.22, 1.6, 0.5, 1.7, 0.2),
    120, lymphocytes=16, fibroblasts=38, separation=0.9,
    compartment=128, septum=13, warp=12, stroma_fraction=0.42, height=25,
    open_fraction=0.8, lumen_fill="mucus", band=(8, 17), orientation="radial",
    eosin=0.5, basophilia=0.2, stroma_eosin=0.72, fibre=0.42, waviness=22,
    rbc=6, warmth=0.55,
  ),
  "bladder": Preset(
    "urothelial carcinoma: loose sheets of large dark nuclei, torn apart",
    (40, 220),
    Nucleus(12.5, 0.22, 1.3, 0.09, 0.85, 0.05, 0.14, 2.2, 0.2, 2.0, 0.2),
    105, lymphocytes=5, fibroblasts=10, separation=0.95,
    compartment=330, septum=9, stroma_fraction=0.1, gaps=0.2, gap_scale=24,
    eosin=0.6, basophilia=0.42, membrane=-0.25, apoptotic=6,
    hematoxylin_od=2.0, eosin_od=0.9, warmth=0.25, purple=0.8, blur=1.0,
  ),
  "breast": Preset(
    "ductal carcinoma: nests and cords in collagen, fat beside them",
    (40, 330),
    Nucleus(10.5, 0.26, 1.25, 0.07, 0.58, 0.17, 0.24, 1.7, 0.6, 1.9, 0.25),
    120, lymphocytes=20, fibroblasts=30, separation=0.92,
    compartment=100, stretch=1.7, septum=9, warp=15, stroma_fraction=0.3,
    fat_fraction=0.08, gaps=0.012, eosin=0.45, basophilia=0.22,
    stroma_eosin=0.75, fibre=0.42, waviness=18, warmth=0.35,
  ),
  "cervix": Preset(
    "squamous carcinoma, basaloid: crowded ovals with little cytoplasm",
    (80, 460),
    Nucleus(10.5, 0.2, 1.5, 0.06, 0.66, 0.12, 0.26, 1.5, 0.4, 1.6, 0.22),
    210, lymphocytes=35, fibroblasts=18, lymph_foci=2, separation=0.88,
    **_squamous(basophilia=0.24, eosin=0.55, halo=2.0, halo_strength=0.25),
  ),
  "colorectum": Preset(
    "adenocarcinoma: glands of crowded pencil-shaped nuclei, dirty necrosis",
    (90, 420),
    Nucleus(10.0, 0.17, 1.95, 0.05, 0.72, 0.1, 0.2, 1.6, 0.3, 1.7, 0.18),
    240, lymphocytes=24, fibroblasts=22, separation=0.78,
    compartment=225, stretch=1.25, septum=14, warp=16, stroma_fraction=0.12,
    height=58, open_fraction=1.0, lumen_fill="debris", band=(11, 34),
    orientation="radial", disorder=0.2, eosin=0.5, basophilia=0.3,
    apoptotic=14, droplets=7, droplet_radius=10, membrane=-0.12, warmth=0.4,
    hematoxylin_od=1.85, purple=0.6,
  ),
  "esophagus": Preset(
    "keratinising squamous carcinoma: pink polygonal cells with sharp borders",
    (40, 210),
    Nucleus(11.5, 0.25, 1.3, 0.06, 0.5, 0.2, 0.24, 1.6, 0.9, 1.9, 0.3),
    85, lymphocytes=12, fibroblasts=15, separation=1.15,
    **_squamous(eosin=0.75, basophilia=0.12, membrane=0.35, keratin=3,
                halo=3.5, halo_strength=0.5, apoptotic=6, warmth=0.8),
  ),
  "eye": Preset(
    "uveal melanoma: plump pale nuclei with large nucleoli, brown pigment",
    (30, 190),
    Nucleus(14.5, 0.2, 1.6, 0.06, 0.26, 0.26, 0.15, 1.2, 1.25, 3.3, 0.2),
    95, lymphocytes=4, fibroblasts=3, separation=0.95,
    compartment=170, stretch=2.2, septum=2.5, warp=24, stroma_fraction=0.02,
    orientation="fibre", disorder=0.35, eosin=0.5, basophilia=0.18,
    fibrillar=0.2, gaps=0.015, pigment=150, rbc=6, apoptotic=5,
    hematoxylin_od=1.45, warmth=0.3, purple=0.65,
  ),
  "head_and_neck": Preset(
    "squamous carcinoma: pink nests with keratin in inflamed stroma",
    (60, 440),
    Nucleus(11.0, 0.24, 1.35, 0.07, 0.56, 0.18, 0.26, 1.8, 0.7, 2.0, 0.25),
    100, lymphocytes=85, fibroblasts=24, lymph_foci=2.2, separation=1.0,
    **_squamous(compartment=150, septum=20, stroma_fraction=0.25, keratin=1.5,
                eosin=0.8, halo=2.5, halo_strength=0.3, warmth=0.7),
  ),
  "kidney": Preset(
    "clear cell carcinoma: empty cells with fine borders, small dark nuclei",
    (30, 200),
    Nucleus(8.2, 0.14, 1.12, 0.05, 0.7, 0.12, 0.22, 1.4, 0.25, 1.5, 0.28),
    95, lymphocytes=10, fibroblasts=26, separation=1.3,
    compartment=120, septum=3.5, warp=14, stroma_fraction=0.02, gaps=0.015,
    eosin=0.5, basophilia=0.1, clear=0.85, foam=0.3, membrane=0.65,
    rbc=34, pigment=14, apoptotic=6, warmth=0.75, eosin_od=0.85, purple=0.4,
  ),
  "liver": Preset(
    "hepatocellular carcinoma: granular plates, round nuclei with one nucleolus",
    (40, 230),
    Nucleus(11.0, 0.16, 1.08, 0.03, 0.42, 0.26, 0.2, 1.3, 1.2, 2.5, 0.2),
    88, lymphocytes=7, fibroblasts=16, separation=1.2,
    compartment=78, stretch=2.6, septum=4.2, septum_kind="sinusoid", warp=14,
    stroma_fraction=0.0, eosin=0.66, basophilia=0.2, granular=0.28,
    membrane=0.12, rbc=16, droplets=16, droplet_radius=8.5, droplet_kind="fat",
    pigment=10, warmth=0.75,
  ),
  "lung": Preset(
    "adenocarcinoma along alveolar walls: air spaces, carbon dust",
    (50, 290),
    Nucleus(11.0, 0.22, 1.3, 0.06, 0.5, 0.2, 0.24, 1.6, 0.7, 2.0, 0.22),
    120, lymphocytes=24, fibroblasts=24, separation=0.95,
    compartment=150, stretch=1.3, septum=10, warp=15, stroma_fraction=0.06, height=24,
    open_fraction=0.95, band=(8, 18), orientation="radial", disorder=0.5,
    eosin=0.55, basophilia=0.2, rbc=14, pigment=45, pigment_kind="carbon",
    warmth=0.55,
  ),
  "lymph_nodes": Preset(
    "lymphoma: a carpet of small cells, larger pale ones among them",
    (150, 620),
    Nucleus(7.6, 0.12, 1.12, 0.05, 0.76, 0.14, 0.3, 1.5, 0.25, 1.3, 0.15),
    325, Nucleus(10.0, 0.12, 1.2, 0.07, 0.36, 0.26, 0.2, 1.4, 1.6, 1.6, 0.15),
    30, lymphocytes=0, fibroblasts=8, separation=0.93,
    compartment=260, septum=2, stroma_fraction=0.04, gaps=0.06, gap_scale=11,
    eosin=0.32, basophilia=0.2, foam=0.3, membrane=-0.3, apoptotic=10,
    warmth=0.3, purple=0.55,
  ),
  "pancreas": Preset(
    "acini: basal nuclei, blue bases and granular pink tips",
    (60, 320),
    Nucleus(8.6, 0.13, 1.1, 0.03, 0.55, 0.2, 0.24, 1.4, 0.8, 1.6, 0.16),
    150, lymphocytes=6, fibroblasts=22, separation=1.02,
    compartment=72, septum=3.0, warp=8, stroma_fraction=0.1, height=24,
    band=(9, 17), eosin=0.6, basophilia=0.34, granular=0.36, foam=0.08, membrane=0.08,
    gaps=0.025, gap_scale=16, droplets=2, droplet_radius=6, warmth=0.4,
    purple=0.7,
  ),
  "pleura": Preset(
    "mesothelioma: cords of plump ovals in blue-grey myxoid stroma",
    (40, 270),
    Nucleus(11.0, 0.2, 1.6, 0.06, 0.44, 0.2, 0.18, 1.2, 0.8, 1.9, 0.2),
    100, lymphocytes=9, fibroblasts=28, separation=0.95,
    compartment=70, stretch=3.2, septum=7.5, warp=22, stroma_fraction=0.22,
    orientation="fibre", disorder=0.5, eosin=0.62, basophilia=0.14,
    stroma_eosin=0.4, stroma_blue=0.17, fibre=0.35, waviness=30, gaps=0.025,
    warmth=0.35,
  ),
  "prostate": Preset(
    "adenocarcinoma: glands of foamy cells, empty nuclei with rim and nucleolus",
    (60, 280),
    Nucleus(12.0, 0.13, 1.12, 0.03, 0.17, 0.42, 0.15, 1.4, 1.3, 2.2, 0.2),
    135, lymphocytes=5, fibroblasts=20, separation=0.9,
    compartment=190, septum=9, warp=15, stroma_fraction=0.12, height=46,
    open_fraction=0.75, lumen_fill="white", band=(10, 30), orientation="radial",
    disorder=0.6, eosin=0.4, basophilia=0.14, foam=0.55, granular=0.35,
    membrane=0.14, hematoxylin_od=1.35, eosin_od=0.68, warmth=0.2, purple=0.8,
  ),
  "skin": Preset(
    "melanoma: nests of large uneven nuclei, melanin, lymphocytes at the edge",
    (40, 270),
    Nucleus(12.5, 0.28, 1.3, 0.08, 0.4, 0.26, 0.26, 2.0, 1.1, 2.8, 0.3),
    90, lymphocytes=42, fibroblasts=16, lymph_foci=1.6, separation=0.98,
    compartment=115, septum=5, warp=14, stroma_fraction=0.12, gaps=0.03,
    eosin=0.6, basophilia=0.18, membrane=-0.25, pigment=85, apoptotic=6,
    warmth=0.5,
  ),
  "soft_tissue": Preset(
    "sarcoma: crossing fascicles of dark spindles",
    (50, 330),
    Nucleus(8.6, 0.24, 2.9, 0.08, 0.8, 0.08, 0.2, 1.7, 0.2, 1.5, 0.25),
    150, lymphocytes=6, fibroblasts=0, separation=0.9,
    compartment=210, septum=4, warp=26, stroma_fraction=1.0, home="stroma",
    orientation="fibre", disorder=0.18, stroma_eosin=0.58, stroma_blue=0.13,
    fibre=0.5, fibre_width=3.2, waviness=16, gaps=0.02, rbc=6, apoptotic=6,
    warmth=0.45,
  ),
  "stomach": Preset(
    "diffuse carcinoma: dense discohesive dark cells, signet rings, torn stroma",
    (110, 510),
    Nucleus(9.4, 0.15, 1.3, 0.08, 0.98, 0.02, 0.1, 2.0, 0.05, 1.5, 0.1),
    265, lymphocytes=22, fibroblasts=16, separation=0.9,
    compartment=220, septum=6, stroma_fraction=0.1, gaps=0.16, gap_scale=15,
    eosin=0.32, basophilia=0.2, foam=0.4, membrane=-0.3, droplets=16,
    droplet_radius=9, hematoxylin_od=2.3, warmth=0.25, purple=0.45, blur=0.9,
  ),
  "testis": Preset(
    "seminoma: clear polygonal cells, large round vesicles with a nucleolus",
    (50, 330),
    Nucleus(13.0, 0.12, 1.08, 0.05, 0.3, 0.3, 0.17, 1.5, 1.6, 2.8, 0.16),
    92, lymphocytes=62, fibroblasts=14, lymph_foci=1.8, separation=1.12,
    compartment=190, septum=11, warp=18, stroma_fraction=0.06,
    eosin=0.45, basophilia=0.14, clear=0.6, foam=0.35, membrane=0.42,
    warmth=0.45,
  ),
  "thymus": Preset(
    "thymoma: tiny lymphocytes, large pale epithelial nuclei among them",
    (140, 620),
    Nucleus(6.1, 0.08, 1.08, 0.03, 0.95, 0.08, 0.2, 1.3, 0.0, 1.0, 0.1),
    285, Nucleus(11.0, 0.14, 1.3, 0.05, 0.24, 0.24, 0.12, 1.2, 0.9, 1.5, 0.2),
    55, lymphocytes=0, fibroblasts=10, separation=1.0,
    compartment=280, septum=9, stroma_fraction=0.05, gaps=0.02,
    eosin=0.5, basophilia=0.12, foam=0.25, membrane=0.0, apoptotic=6,
    warmth=0.4, purple=0.35,
  ),
  "thyroid": Preset(
    "papillary carcinoma: follicles of colloid, ground-glass overlapping nuclei",
    (70, 350),
    Nucleus(10.5, 0.13, 1.28, 0.07, 0.13, 0.3, 0.07, 1.0, 0.25, 1.3, 0.18),
    185, lymphocytes=6, fibroblasts=18, separation=0.76,
    compartment=145, septum=6, warp=12, stroma_fraction=0.04, height=26,
    open_fraction=0.92, lumen_fill="colloid", band=(9, 20),
    orientation="radial", disorder=0.7, eosin=0.58, basophilia=0.14, rbc=10,
    hematoxylin_od=1.45, warmth=0.5, purple=0.5,
  ),
  "uterus": Preset(
    "smooth muscle tumour: parallel pink fibres, long blunt pale nuclei",
    (30, 210),
    Nucleus(8.4, 0.13, 3.3, 0.03, 0.46, 0.18, 0.14, 1.0, 0.5, 1.2, 0.18),
    110, lymphocytes=4, fibroblasts=0, separation=0.95,
    compartment=340, stretch=1.8, septum=3, warp=30, stroma_fraction=1.0,
    home="stroma", orientation="fibre", disorder=0.1, stroma_eosin=0.9,
    stroma_blue=0.08, fibre=0.2, fibre_width=3.2, waviness=13, gaps=0.012,
    rbc=6, warmth=0.65,
  ),
}  # fmt: skip

ORGANS: tuple[str, ...] = tuple(PRESETS)
