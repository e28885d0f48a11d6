"""Blind deconvolution: the motion's kernel from the blurred image alone, and the image from both.

Kernel and sharp edges are estimated in turns, from coarse to fine (Cho and Lee, "Fast Motion
Deblurring", SIGGRAPH Asia 2009), the edges as the image with few gradients that is blurred to the
given one (Xu, Lu, Xu, Jia, "Image Smoothing via L0 Gradient Minimization", SIGGRAPH Asia 2011; Xu,
Zheng, Jia, "Unnatural L0 Sparse Representation for Natural Image Deblurring", CVPR 2013).
Different: it works in linear light, where motion blur is a convolution, on the mean of the colours
brought to one contrast, and every step is a closed form in the Fourier domain, for a batch at once.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Found by the error of kernels estimated for blurred crops of photographs (`bench.kernels`).
_ITERATIONS = 5
_RATIO = 0.5**0.5  # between the scales
_COARSEST = 5  # side of the kernel at the coarsest scale
_CONTRAST = 0.25  # standard deviation that the image is brought to
_EDGE_COST = 3e-2  # of a pixel with a gradient, against squared differences; falls with the steps
_EDGE_DECAY = 1.1
_SPLIT_RISE, _SPLIT_LAST = 2.83, 50  # of the half-quadratic splitting's weight
_KERNEL_COST = 0.2  # against the mean power of the edges
_KERNEL_FLOOR = 0.1  # of its largest value: less is noise
# Where trust in a kernel begins to fall, and where nothing is left of it.
_POINT = 0.14, 0.2  # sum of its squares: a sharp image's estimates have more
_SMEAR = 0.0125, 0.0105  # the same sum: a camera's path does not fill so many pixels
_SHORT = 1.1, 0.95  # of `extent`, in pixels: no motion, but a little softness
_MISFIT = 0.35, 0.45  # of `misfit`
_MISFIT_NOISE = 3e-2


def estimate_kernel(linear: Tensor, side: int) -> Tensor:
    """The kernels, B x side x side, that blurred linear-light images, B x H x W of finite values.

    `side` is odd. Each kernel is at least 0, sums to 1, and has its centre of mass within half a
    pixel of its middle. A sharp image's is near a single point. The convolution is a true one: the
    image is the sharp image with each point spread to the kernel's form.
    """
    image = linear - linear.mean((1, 2), keepdim=True)
    image = image * (_CONTRAST / image.std((1, 2), keepdim=True, correction=0).clamp(min=0.01))
    scales = max(1, math.floor(math.log(_COARSEST / side) / math.log(_RATIO)) + 1)
    kernel, edge_cost = None, _EDGE_COST
    for scale in reversed(range(scales)):
        ratio = _RATIO**scale
        here = max(3, math.ceil(side * ratio) // 2 * 2 + 1) if scale else side
        small = _resized(image, ratio) if scale else image
        kernel = _larger(kernel, here) if kernel is not None else _begin(small, here)
        kernel, edge_cost = _refine(small, kernel, edge_cost)
    assert kernel is not None
    return kernel


def _begin(image: Tensor, side: int) -> Tensor:
    kernel = image.new_zeros(len(image), side, side)
    kernel[:, side // 2, side // 2 - 1 : side // 2 + 2] = 1 / 3
    return kernel


def _resized(image: Tensor, ratio: float) -> Tensor:
    size = [max(1, round(length * ratio)) for length in image.shape[1:]]
    return F.interpolate(image[:, None], size, mode="area")[:, 0]


def _larger(kernel: Tensor, side: int) -> Tensor:
    grown = F.interpolate(kernel[:, None], (side, side), mode="bilinear")[:, 0]
    return _centred(grown / grown.sum((1, 2), keepdim=True))


def _refine(image: Tensor, kernel: Tensor, edge_cost: float) -> tuple[Tensor, float]:
    side = kernel.shape[-1]
    padded = tapered(image, side)
    height, width = size = padded.shape[-2:]
    window = _window(height, width, 2 * side, padded)
    steepness = _steepness(height, width, padded)
    given = torch.fft.rfft2(padded)
    given_edges = torch.fft.rfft2(_gradients(padded) * window)
    half = side // 2
    for _ in range(_ITERATIONS):
        sharp = _with_few_edges(padded, given, transfer(kernel, size), steepness, edge_cost)
        edges = torch.fft.rfft2(_gradients(sharp) * window).conj()
        power = _power(edges).sum(0)
        cost = _KERNEL_COST * power.mean((1, 2), keepdim=True) + 1e-12
        spread = torch.fft.irfft2(_scaled((edges * given_edges).sum(0), power + cost), s=size)
        spread = torch.roll(spread, (half, half), (1, 2))[:, :side, :side]
        kernel = _centred(_cleaned(spread))
        edge_cost = edge_cost / _EDGE_DECAY
    return kernel, edge_cost


def _with_few_edges(
    image: Tensor, given: Tensor, blur: Tensor, steepness: Tensor, edge_cost: float
) -> Tensor:
    """The x with least |kernel * x - image|^2 + edge_cost (pixels with a gradient), about."""
    back, power = blur.conj() * given, _power(blur)
    sharp, split = image, 2 * edge_cost
    while split < _SPLIT_LAST:
        gradients = _gradients(sharp)
        keep = gradients.square().sum(0) >= edge_cost / split
        across, down = gradients * keep
        wanted = across.roll(1, -1) - across + down.roll(1, -2) - down
        spectrum = torch.add(back, torch.fft.rfft2(wanted), alpha=split)
        sharp = torch.fft.irfft2(_scaled(spectrum, power + split * steepness), s=image.shape[-2:])
        split *= _SPLIT_RISE
    return sharp


def _power(spectrum: Tensor) -> Tensor:
    return torch.view_as_real(spectrum.resolve_conj()).square().sum(-1)


def _scaled(spectrum: Tensor, divisor: Tensor) -> Tensor:
    """`spectrum` / `divisor`, which is real: faster so than torch divides complex numbers."""
    parts = torch.view_as_real(spectrum.resolve_conj())
    return torch.view_as_complex(parts / divisor[..., None])


def _cleaned(kernel: Tensor) -> Tensor:
    kernel = kernel.clamp(min=0)
    kernel = kernel * (kernel >= _KERNEL_FLOOR * kernel.amax((1, 2), keepdim=True))
    total = kernel.sum((1, 2), keepdim=True)
    # An image without edges says nothing of its blur.
    return torch.where(total > 1e-6, kernel / total.clamp(min=1e-6), _point(kernel))


def _point(like: Tensor) -> Tensor:
    point = torch.zeros_like(like)
    point[:, like.shape[1] // 2, like.shape[2] // 2] = 1
    return point


def _centred(kernel: Tensor) -> Tensor:
    """Rolled by whole pixels: the centre of mass comes to the middle pixel."""
    side = kernel.shape[-1]
    for dim, away in zip((1, 2), centre_of_mass(kernel), strict=True):
        index = torch.arange(side, device=kernel.device) + away.round().long()[:, None]
        index = (index % side).unsqueeze(3 - dim).expand(-1, side, side)
        kernel = kernel.gather(dim, index)
    return kernel


def centre_of_mass(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns, each B, by which it lies beyond the middle of B x side x side."""
    side = kernel.shape[-1]
    place = torch.arange(side, device=kernel.device, dtype=kernel.dtype) - side // 2
    return (kernel.sum(2) * place).sum(1), (kernel.sum(1) * place).sum(1)


def extent(kernel: Tensor) -> Tensor:
    """The largest deviation, B, in pixels, that B x side x side have in any direction."""
    rows, columns = centre_of_mass(kernel)
    side = kernel.shape[-1]
    place = torch.arange(side, device=kernel.device, dtype=kernel.dtype) - side // 2
    down, across = (place - rows[:, None]), (place - columns[:, None])
    height = (kernel.sum(2) * down.square()).sum(1)
    width = (kernel.sum(1) * across.square()).sum(1)
    both = torch.einsum("bij,bi,bj->b", kernel, down, across)
    spread = ((height - width).square() / 4 + both.square()).sqrt()
    return ((height + width) / 2 + spread).clamp(min=0).sqrt()


def trust(kernel: Tensor, linear: Tensor) -> Tensor:
    """How far to trust B x side x side as what blurred B x H x W, 0 to 1 each.

    Not where nothing `moved`. Not where it is spread over more than a path, as where no estimate
    was found. And not where the image has much that such a blur would have left nothing of.
    """
    path = moved(kernel) * _falling(kernel.square().sum((1, 2)), *_SMEAR)
    return path * _falling(misfit(kernel, linear), *_MISFIT)


def moved(kernel: Tensor) -> Tensor:
    """How far B x side x side are motions, 0 to 1 each: not where near a point, or short, as
    estimates for sharp images are. There nothing is to be undone."""
    point = _falling(kernel.square().sum((1, 2)), *_POINT)
    return point * _falling(extent(kernel), *_SHORT)


def _falling(value: Tensor, begin: float, end: float) -> Tensor:
    return ((end - value) / (end - begin)).clamp(0, 1)


def misfit(kernel: Tensor, linear: Tensor) -> Tensor:
    """The share, B, of the gradients' power in B x H x W that no image blurred by `kernel` has.

    Of what is deconvolved and blurred again, what is missing.
    """
    margin = kernel.shape[-1]
    padded = tapered(linear - linear.mean((1, 2), keepdim=True), margin)
    height, width = size = padded.shape[-2:]
    spectrum = torch.fft.rfft2(padded * _window(height, width, margin, padded))
    power = _power(spectrum) * _squared_frequency(height, width, padded)
    passed = _power(transfer(kernel, size))
    noise = _MISFIT_NOISE * _falling_power(height, width, padded)
    missing = (noise / (passed + noise)).square()
    total = power.sum((1, 2))
    return (power * missing).sum((1, 2)) / total.clamp(min=1e-12)


def _squared_frequency(height: int, width: int, like: Tensor) -> Tensor:
    """In cycles per pixel."""
    real = {"dtype": like.dtype, "device": like.device}
    across = torch.fft.rfftfreq(width, **real).square()
    return across + torch.fft.fftfreq(height, **real).square()[:, None]


def _falling_power(height: int, width: int, like: Tensor) -> Tensor:
    """White noise against an image whose power falls with the square of the frequency.

    1 at a tenth of a cycle per pixel.
    """
    return 100 * _squared_frequency(height, width, like) + 1e-3


def transfer(kernel: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """The Fourier transform, B x H x (W // 2 + 1), of kernels placed around the origin."""
    side = kernel.shape[-1]
    height, width = size
    placed = F.pad(kernel, (0, width - side, 0, height - side))
    return torch.fft.rfft2(torch.roll(placed, (-(side // 2), -(side // 2)), (1, 2)))


def tapered(images: Tensor, margin: int) -> Tensor:
    """... x H x W mirrored `margin` beyond its sides, and faded there to its opposite side.

    The result is periodic, as the Fourier transform takes it to be. Sides grow by 2 margin or a
    few pixels more, to lengths that transform fast.
    """
    for dim in (-2, -1):
        length = images.shape[dim]
        extra = _fast_length(length + 2 * margin) - length
        before, after = extra // 2, extra - extra // 2
        index = torch.arange(-before, length + after, device=images.device)
        period = max(2 * (length - 1), 1)
        index = index.remainder(period)
        images = images.index_select(dim, torch.minimum(index, period - index).clamp(min=0))
        share = torch.ones(length + extra, dtype=images.dtype, device=images.device)
        share[:before] = torch.linspace(0.5, 1, before + 1)[:-1].to(share)
        share[len(share) - after :] = torch.linspace(1, 0.5, after + 1)[1:].to(share)
        share = share if dim == -1 else share[:, None]
        images = images * share + images.flip(dim) * (1 - share)
    return images


def margin_of(length: int, margin: int) -> int:
    """Where `tapered` puts the first pixel of a side of `length`."""
    return (_fast_length(length + 2 * margin) - length) // 2


def _fast_length(length: int) -> int:
    """The next even number with no prime factor above 5."""
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1 and length % 2 == 0:
            return length
        length += 1


def _window(height: int, width: int, margin: int, like: Tensor) -> Tensor:
    """1 inside, falling smoothly to 0 over `margin` pixels at the sides."""

    def side(length: int) -> Tensor:
        place = torch.arange(length, dtype=like.dtype, device=like.device) + 1
        rise = (torch.minimum(place, length + 1 - place) / (margin + 1)).clamp(max=1)
        return rise.square() * (3 - 2 * rise)

    return side(height)[:, None] * side(width)


def _gradients(images: Tensor) -> Tensor:
    """2 x B x H x W of B x H x W: across and down, around the ends."""
    return torch.stack((images.roll(-1, -1) - images, images.roll(-1, -2) - images))


def _steepness(height: int, width: int, like: Tensor) -> Tensor:
    """What `_gradients` and their transpose do to each frequency: |gradient of a wave|^2."""
    real = {"dtype": like.dtype, "device": like.device}
    across = torch.sin(math.pi * torch.fft.rfftfreq(width, **real)).square()
    down = torch.sin(math.pi * torch.fft.fftfreq(height, **real)).square()
    return 4 * (across + down[:, None])


def deconvolve(linear: Tensor, kernels: list[Tensor], noises: tuple[float, ...]) -> list[Tensor]:
    """Linear-light images B x C x H x W without the blur of each of `kernels`, B x side x side.

    By Wiener's filter for an image whose power falls with the square of the frequency, over white
    noise: for each kernel one result per ratio of the two at a tenth of a cycle per pixel. Of the
    image's size, not clamped. A kernel's centre of mass is taken to be its middle, to a fraction of
    a pixel, so that nothing moves.
    """
    margin = max(kernel.shape[-1] for kernel in kernels)
    height, width = linear.shape[-2:]
    padded = tapered(linear, margin)
    size = padded.shape[-2:]
    given = torch.fft.rfft2(padded)
    like = {"dtype": linear.dtype, "device": linear.device}
    across = torch.fft.rfftfreq(size[1], **like)
    down = torch.fft.fftfreq(size[0], **like)[:, None]
    falling = _falling_power(size[0], size[1], padded)
    top, left = margin_of(height, margin), margin_of(width, margin)
    sharp = []
    for kernel in kernels:
        rows, columns = (each[:, None, None] for each in centre_of_mass(kernel))
        phase = 2 * math.pi * (rows * down + columns * across)
        blur = transfer(kernel, size) * torch.polar(torch.ones_like(phase), phase)
        power, back = _power(blur), blur.conj()
        for noise in noises:
            inverse = _scaled(back, power + noise * falling)
            result = torch.fft.irfft2(given * inverse[:, None], s=size)
            sharp.append(result[..., top : top + height, left : left + width])
    return sharp
